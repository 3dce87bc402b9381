"""Labels every candidate: kept, or the first filter that drops it, with the numbers that decided.

Nothing is deleted, so other thresholds need no other search. A candidate's score is held against its query's least
positive (NV-Retriever, arXiv 2407.15831), or against each positive apart. The least positive is the one with the lowest
score; equal scores by row. It is not known as soon as one positive of the query has no finite score, for that one might
be the lowest: `positive_row` and `positive_score` are then null, and rules that need it drop. Held against each positive
apart, only the rows of the positive without a score drop. A query without positives keeps one row a candidate, held
against none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from stages.documents import StoredDocuments
from stages.errors import ArtefactError, ConfigError
from stages.filters.known_positive import KnownPositive
from stages.filters.relative_margin import RelativeMargin
from stages.filters.same_text import SameText
from stages.held import once
from stages.promotion import promote
from stages.registry import ManyOf
from stages.schemas import PROMOTED
from stages.settings import Settings
from stages.spec import Context, Inputs, Part, Shard, Spec
from stages.teacher_scores import TeacherScores
from stages.verdicts import Filter, judge, known_of, view


class JudgeConfig(Settings):
    """What a candidate is held against, and by which rules."""

    comparison: Literal["least_positive", "per_positive"] = Field(
        "least_positive",
        description="hold a candidate against the query's least positive, or against each positive apart: "
        "that keeps more, and only for the positives that lie far enough above",
    )
    filters: Annotated[tuple[Filter, ...], ManyOf("filters")] = Field(
        (KnownPositive(), SameText(), RelativeMargin(margin=-0.05)),
        description="rules in order; the first that drops a candidate is its verdict, the order changes no kept row. "
        "known_positive always takes part: where it is not listed it comes first",
    )

    @field_validator("filters")
    @classmethod
    def _known_positives_never_pass(cls, filters: tuple[Filter, ...]) -> tuple[Filter, ...]:
        names = [rule.name for rule in filters]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(
                "a filter is listed twice", where="judge.filters", got=", ".join(twice), try_="list it once"
            )
        return filters if "known_positive" in names else (KnownPositive(), *filters)

    promote: bool = Field(
        False,
        description="write candidates that a filter's teacher calls strongly relevant to the table `promoted`, as positives "
        "that the qrels lack; costs reading the texts of such candidates",
    )
    promote_overlap: float = Field(
        0.8,
        ge=0,
        le=1,
        description="share of words in common with a positive, 0 to 1, from which a candidate repeats it and is not promoted",
    )


def shards(config: JudgeConfig, inputs: Inputs) -> tuple[Shard, ...]:
    """One for each part of the candidates."""
    return tuple(Shard("candidates", index) for index, _ in enumerate(inputs["candidates"].parts))


SPEC = Spec(
    name="judge",
    version=1,
    config=JudgeConfig,
    facts_of=("teacher_scores",),
    inputs=("corpus", "queries", "qrels", "corpus_vectors", "candidates", "positives", "teacher_scores"),
    tables=("judged", "promoted"),
    shards=shards,
)


def run(config: JudgeConfig, inputs: Inputs, context: Context) -> Iterator[Part]:
    """Yields `judged` and `promoted` for each part of the candidates. Raises ArtefactError when its inputs do not belong together."""
    if not context.shards:
        return
    candidates, positives = inputs["candidates"], inputs["positives"]
    if len(candidates.parts) != len(positives.parts):
        raise ArtefactError(
            "candidates and positives do not belong together",
            where="judge",
            got=f"{len(candidates.parts)} parts and {len(positives.parts)} parts",
            try_="mine again",
        )
    known, documents, teachers = once(
        context, "known", lambda: (known_of(inputs), StoredDocuments(inputs), TeacherScores.of(inputs))
    )
    queries = without = 0
    with context.progress("judge", len(context.shards)) as bar:
        for shard in context.shards:
            found = candidates.read(part=candidates.parts[shard.index])
            held = positives.read(["query_row", "positive_row", "score"], part=positives.parts[shard.index])
            taught = teachers.part(shard.index)
            table, counters = judge(config, known, found, held, str(shard), documents=documents, taught=taught)
            promoted = PROMOTED.empty_table()
            if config.promote:
                seen = view(config.comparison, known, found, held, documents=documents, taught=taught)
                promoted = promote(config.filters, seen, table, inputs["corpus"], held, overlap=config.promote_overlap)
                counters["promoted"] = promoted.num_rows
            queries, without = queries + counters["queries"], without + counters["queries_without_kept"]
            last = shard == context.shards[-1]
            tables = {"judged": table, "promoted": promoted}
            yield Part(shard, tables, counters=counters, facts=_facts(config) if last else {})
            bar.advance()
    if without:
        context.log(f"{without:,} of {queries:,} queries keep no candidate")


def _facts(config: JudgeConfig) -> dict[str, Any]:
    return {"comparison": config.comparison, "filters": [each.semantic() for each in config.filters]}
