"""Scores candidates and positives once more, by teachers: models that are better or simply others than the one that mined.

Judge holds these scores against each other. They are a stage of their own because scoring is what costs: a threshold can
change without a score being computed again. A score hangs on the teacher and the two texts alone, and is kept in the
workspace's cache: with another depth or other candidates only what is new is scored. Without teachers the stage writes
empty tables at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Protocol

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from stages.arrays import coded
from stages.errors import ArtefactError, ConfigError
from stages.held import once
from stages.pictures import kinds
from stages.registry import ManyOf
from stages.schemas import TEACHER_SCORES
from stages.settings import Settings
from stages.spec import Cache, Context, Inputs, Part, Shard, Spec
from stages.teaching import Log, Pairs, Scored


class Scorer(Protocol):
    """A teacher at work. `counts` grows with every call."""

    counts: dict[str, int]

    def score(self, pairs: Pairs) -> Scored:
        """A pair's score, higher is more relevant, the same in whatever company; NaN where it gives none."""
        ...


class Teacher(Protocol):
    """A kind of teacher, one file in `teachers/`."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str:
        """What its scores are called: its label, or its name where it has none."""
        ...

    def semantic(self) -> dict[str, Any]: ...

    def fingerprint(self) -> str:
        """A hash of everything that can change a score. Loads no model."""
        ...

    def open(self, device: str, cache: Cache, log: Log) -> Scorer: ...


class TeachConfig(Settings):
    """Which teachers score how much."""

    teachers: Annotated[tuple[Teacher, ...], ManyOf("teachers")] = Field(
        (), description="models that score each pair once more, in order; none costs nothing. Each multiplies the cost"
    )
    depth: int = Field(
        30,
        ge=1,
        description="candidates up to this rank are scored, and all positives; the cost grows in proportion",
    )

    @field_validator("teachers")
    @classmethod
    def _told_apart(cls, teachers: tuple[Teacher, ...]) -> tuple[Teacher, ...]:
        titles = [teacher.title for teacher in teachers]
        twice = sorted({title for title in titles if titles.count(title) > 1})
        if twice:
            raise ConfigError(
                "two teachers have one name", where="teach.teachers", got=", ".join(twice), try_="give each a label"
            )
        return teachers


def shards(config: TeachConfig, inputs: Inputs) -> tuple[Shard, ...]:
    """One for each part of the candidates."""
    return tuple(Shard("candidates", index) for index, _ in enumerate(inputs["candidates"].parts))


def external(config: TeachConfig, inputs: Inputs, device: str) -> Mapping[str, str]:
    """The fingerprints of the teachers."""
    return {teacher.title: teacher.fingerprint() for teacher in config.teachers}


def undivided(config: TeachConfig) -> bool:
    """Whether a teacher has a budget for the whole stage, which several processes would each spend."""
    return any(getattr(teacher, "budgeted", False) for teacher in config.teachers)


SPEC = Spec(
    name="teach",
    version=1,
    config=TeachConfig,
    undivided=undivided,
    inputs=("corpus", "queries", "candidates", "positives"),
    tables=("teacher_scores",),
    shards=shards,
    external=external,
    resources=frozenset({"gpu", "memory"}),
)


def run(config: TeachConfig, inputs: Inputs, context: Context) -> Iterator[Part]:
    """Yields `teacher_scores` for each part of the candidates. Raises ResourceError for a teacher that cannot be had."""
    if not context.shards:
        return
    parts = inputs["candidates"].parts
    if len(parts) != len(inputs["positives"].parts):
        raise ArtefactError("candidates and positives do not belong together", where="teach", try_="mine again")
    if config.teachers and "picture" in once(
        context, "kinds", lambda: kinds(inputs["corpus"]) | kinds(inputs["queries"])
    ):
        raise ConfigError("a teacher reads texts, and there are pictures", where="teach.teachers", try_="teachers = []")
    scorers = once(
        context, "teachers", lambda: [each.open(context.device, context.cache, context.log) for each in config.teachers]
    )
    facts = {"depth": config.depth, "teachers": [{"title": t.title, **t.semantic()} for t in config.teachers]}
    final = Shard("candidates", len(parts) - 1)
    counted: dict[str, int] = {}
    with context.progress("teach", len(context.shards)) as bar:
        for shard in context.shards:
            tables, counters = [], {}
            if scorers:
                pairs = _pairs(config, inputs, shard.index)
                counters["pairs"] = len(pairs)
                for place, (teacher, scorer) in enumerate(zip(config.teachers, scorers, strict=True)):
                    scored, counts = _score(scorer, pairs)
                    tables.append(_table(config, place, pairs, scored))
                    counters |= {f"{teacher.title}.{name}": count for name, count in counts.items()}
            for name, count in counters.items():
                counted[name] = counted.get(name, 0) + count
            table = pa.concat_tables(tables) if tables else TEACHER_SCORES.empty_table()
            yield Part(shard, {"teacher_scores": table}, counters=counters, facts=facts if shard == final else {})
            bar.advance()
    for name, count in counted.items():
        if count and name.endswith((".truncated", ".unscored")):
            context.log(f"{name.replace('.', ': ', 1)} {count:,} of {counted['pairs']:,} pairs")


def _pairs(config: TeachConfig, inputs: Inputs, index: int) -> Pairs:
    """What is scored of a part: its candidates up to the depth, and its positives."""
    candidates, positives = inputs["candidates"], inputs["positives"]
    found = candidates.read(["query_row", "doc_row", "rank"], part=candidates.parts[index])
    held = positives.read(["query_row", "positive_row"], part=positives.parts[index])
    rank = found["rank"].to_numpy()
    used = rank <= config.depth
    candidate = _keys(found["query_row"].to_numpy()[used], found["doc_row"].to_numpy()[used])
    relevant = _keys(held["query_row"].to_numpy(), held["positive_row"].to_numpy())
    keys = np.union1d(candidate, relevant)
    ranks = np.zeros(len(keys), dtype=np.int32)
    ranks[np.searchsorted(keys, candidate)] = rank[used]
    return Pairs(
        inputs["queries"],
        inputs["corpus"],
        (keys >> 32).astype(np.int32),
        (keys & 0xFFFFFFFF).astype(np.int32),
        ranks,
        np.isin(keys, relevant),
    )


def _keys(query: np.ndarray, document: np.ndarray) -> np.ndarray:
    keys: np.ndarray = (query.astype(np.int64) << 32) + document
    return keys


def _score(scorer: Scorer, pairs: Pairs) -> tuple[Scored, dict[str, int]]:
    """Scores, with NaN for every value that is not finite, and what was counted."""
    before = dict(scorer.counts)
    scored = scorer.score(pairs)
    finite = np.isfinite(scored.score)
    counts = {
        "truncated": int(np.count_nonzero(scored.truncated)),
        "unscored": int(np.count_nonzero(~finite)),
        **{name: count - before.get(name, 0) for name, count in scorer.counts.items()},
    }
    return Scored(np.where(finite, scored.score, np.nan), scored.truncated), counts


def _table(config: TeachConfig, place: int, pairs: Pairs, scored: Scored) -> pa.Table:
    columns = [
        pa.array(pairs.query_row),
        pa.array(pairs.doc_row),
        coded(np.full(len(pairs), place), [teacher.title for teacher in config.teachers]),
        pa.array(scored.score, pa.float64(), from_pandas=True),
    ]
    return pa.Table.from_arrays(columns, schema=TEACHER_SCORES)
