"""Chooses negatives for each (query, positive) pair among the candidates that were kept, the deepened ones among them.

A pair that has fewer than were asked for gets what there is and a row in `shortfall`; it is never filled up. When too few
pairs get any, the stage ends with a table of reasons and exit code 4. What judge promoted is a positive like the others, and
nobody's negative (see stages.relabelled). A candidate whose score is not finite is never a
negative, whatever judged it: it is counted as `kept_not_finite`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from stages.arrays import repeated
from stages.deepened import Deepened
from stages.errors import ArtefactError, YieldError
from stages.held import once
from stages.judging import Pool, are_kept, ascending, numbers, spread
from stages.registry import OneOf
from stages.relabelled import HELD, Relabelled
from stages.samplers.top import Top
from stages.schemas import SHORTFALL, TRIPLETS
from stages.settings import Settings
from stages.spec import Context, Inputs, Part, Shard, Spec

WORST = 5
"""How many queries an error about the yield names."""


class Sampler(Protocol):
    """A rule of choice, one file in `samplers/`."""

    @property
    def name(self) -> str: ...

    def semantic(self) -> dict[str, Any]: ...

    def choose(self, pool: Pool, negatives: int, seed: int) -> np.ndarray:
        """Rows of the pool, int64, ordered by (pair, order of choice): `negatives` of each pair, all where it has fewer."""
        ...


class SampleConfig(Settings):
    """How many negatives, and which."""

    sampler: Annotated[Sampler, OneOf("samplers")] = Field(Top(), description="how to choose among the kept candidates")
    negatives: int = Field(
        5, ge=1, description="negatives for each (query, positive) pair; more makes training slower in proportion"
    )
    seed: int = Field(
        0, ge=0, lt=2**63, description="seed of random samplers; another seed is another choice of the same quality"
    )
    min_yield: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of the pairs that must get at least one negative, 0 to 1; below it the stage fails, 0 never fails",
    )


def shards(config: SampleConfig, inputs: Inputs) -> tuple[Shard, ...]:
    """One for each part of the judged candidates."""
    return tuple(Shard("judged", index) for index, _ in enumerate(inputs["judged"].parts))


SPEC = Spec(
    name="sample",
    version=2,
    config=SampleConfig,
    facts_of=("judged",),
    inputs=("judged", "deepened", "promoted", "positives", "queries", "corpus"),
    tables=("triplets", "shortfall"),
    shards=shards,
)


@dataclass(frozen=True)
class Pairs:
    """The p (query, positive) pairs of a part, and where each one's kept candidates stand among those of the part."""

    query_row: np.ndarray  # int32 (p,)
    positive_row: np.ndarray  # int32 (p,)
    score: np.ndarray  # float64 (p,), NaN where the positive has none
    starts: np.ndarray  # int64 (p,)
    counts: np.ndarray  # int64 (p,)


def run(config: SampleConfig, inputs: Inputs, context: Context) -> Iterator[Part]:
    """Yields `triplets` and `shortfall` for each part of judged. Raises YieldError when too few pairs get a negative.

    The yield is that of all parts, whichever are still to do, so it is computed from the inputs; and once, by whoever has
    the last part, before anything is sampled.
    """
    if not context.shards:
        return
    relabelled = once(context, "relabelled", lambda: Relabelled.of(inputs))
    if context.shards[-1] == shards(config, inputs)[-1]:
        _check_yield(config, inputs, relabelled)
    pairs = short = not_finite = 0
    with context.progress("sample", len(context.shards)) as bar:
        for shard in context.shards:
            tables, counters = _sample(config, inputs, relabelled, shard, context.round)
            pairs, short = pairs + counters["pairs"], short + counters["pairs_short"] + counters["pairs_empty"]
            not_finite += counters["kept_not_finite"]
            yield Part(shard, tables, counters=counters)
            bar.advance()
    if not_finite:
        context.log(f"{not_finite:,} kept candidates have no finite score, and are left out")
    if short:
        context.log(f"{short:,} of {pairs:,} (query, positive) pairs get fewer than {config.negatives} negatives")


def _sample(
    config: SampleConfig, inputs: Inputs, relabelled: Relabelled, shard: Shard, round: int
) -> tuple[dict[str, pa.Table], dict[str, int]]:
    pairs, kept, left_out = _match(inputs, relabelled, shard.index, ("rank",))
    first = np.cumsum(pairs.counts) - pairs.counts
    rows: slice | np.ndarray = slice(int(pairs.counts.sum()))
    if not np.array_equal(first, pairs.starts):  # else all kept are in order, and none is copied
        rows = spread(pairs.starts, pairs.counts)[0]
    pool = Pool(
        pairs.query_row,
        pairs.positive_row,
        pairs.score,
        first,
        pairs.counts,
        np.repeat(np.arange(len(pairs.counts)), pairs.counts),
        kept["doc_row"].to_numpy()[rows],
        kept["rank"].to_numpy()[rows],
        kept["score"].to_numpy()[rows],
    )
    chosen = config.sampler.choose(pool, config.negatives, config.seed)
    got = np.bincount(pool.pair[chosen], minlength=len(pairs.counts))
    counters = {
        "pairs": len(got),
        "pairs_full": int(np.count_nonzero(got == config.negatives)),
        "pairs_short": int(np.count_nonzero((got > 0) & (got < config.negatives))),
        "pairs_empty": int(np.count_nonzero(got == 0)),
        "triplets": len(chosen),
        **left_out,
    }
    return {"triplets": _triplets(config, pool, chosen, round), "shortfall": _shortfall(config, pool, got)}, counters


def _triplets(config: SampleConfig, pool: Pool, chosen: np.ndarray, round: int) -> pa.Table:
    pair, n = pool.pair[chosen], len(chosen)
    columns = [
        pool.query_row[pair],
        pool.positive_row[pair],
        pool.doc_row[chosen],
        pa.array(pool.positive_score[pair], pa.float64(), from_pandas=True),
        pool.score[chosen],
        pool.rank[chosen],
        repeated(config.sampler.name, n),
        np.full(n, config.seed, dtype=np.int64),
        np.full(n, round, dtype=np.int32),
    ]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=TRIPLETS)


def _shortfall(config: SampleConfig, pool: Pool, got: np.ndarray) -> pa.Table:
    short = got < config.negatives
    wanted = np.full(np.count_nonzero(short), config.negatives, dtype=np.int32)
    columns = [pool.query_row[short], pool.positive_row[short], wanted, got[short].astype(np.int32)]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=SHORTFALL)


def _match(
    inputs: Inputs, relabelled: Relabelled, index: int, columns: tuple[str, ...] = ()
) -> tuple[Pairs, pa.Table, dict[str, int]]:
    """The pairs of a part, the kept candidates that may be negatives, and how many may not and why.

    Held against the least positive a candidate is kept for all positives of its query, else for its own positive. Raises
    ArtefactError when judged and positives do not belong together.
    """
    judged, positives = Deepened(inputs["judged"], inputs["deepened"]), inputs["positives"]
    comparison = judged.facts.get("comparison")
    if comparison is None or len(judged.parts) != len(positives.parts):
        raise ArtefactError(
            "judged and positives do not belong together",
            where="sample",
            got=f"{len(judged.parts)} parts and {len(positives.parts)} parts, comparison {comparison}",
            try_="judge again",
        )
    table = judged.read(
        ["query_row", "positive_row", "doc_row", "score", "verdict", *columns], part=judged.parts[index]
    )
    passed = are_kept(table["verdict"])
    finite = pc.and_(passed, pc.is_finite(table["score"]))
    kept, not_finite = table.drop_columns("verdict").filter(finite), int(pc.sum(pc.xor(passed, finite)).as_py() or 0)
    free = relabelled.free(kept)
    left_out = {"kept_not_finite": not_finite, "kept_relabelled": kept.num_rows - free.num_rows}
    held = positives.read(list(HELD), part=positives.parts[index])
    held, kept = relabelled.joined(index, held, table, free, comparison)
    query, positive = held["query_row"].to_numpy(), held["positive_row"].to_numpy()
    if comparison == "least_positive":
        have, want = kept["query_row"].to_numpy(), query
    else:
        have = _key(kept["query_row"].to_numpy(), numbers(kept["positive_row"], -1))
        want = _key(query, positive)
    if not (ascending(have) and ascending(want)):
        raise ArtefactError("judged or positives are out of order", where=f"part {index}", try_="mine and judge again")
    starts = np.searchsorted(have, want, "left")
    counts = np.searchsorted(have, want, "right") - starts
    return Pairs(query, positive, numbers(held["score"], np.nan), starts, counts), kept, left_out


def _key(query: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Pairs of rows as int64 in the same order."""
    key: np.ndarray = (query.astype(np.int64) << 32) + positive
    return key


def _check_yield(config: SampleConfig, inputs: Inputs, relabelled: Relabelled) -> None:
    """Raises YieldError when the share of pairs with a negative is below what the configuration asks for."""
    matched = [_match(inputs, relabelled, index)[0] for index, _ in enumerate(inputs["judged"].parts)]
    pairs = sum(len(part.counts) for part in matched)
    served = sum(int(np.count_nonzero(part.counts)) for part in matched)
    if served >= config.min_yield * pairs and (pairs or not config.min_yield):
        return
    empty = np.unique(np.concatenate([part.query_row[part.counts == 0] for part in matched]))
    raise YieldError(
        "too few (query, positive) pairs have a negative",
        where=f"sample.min_yield = {config.min_yield}",
        got=f"{served:,} of {pairs:,} pairs\n{_reasons(inputs, empty)}",
        try_="loosen the filter that drops most, mine deeper, or lower sample.min_yield",
    )


def _reasons(inputs: Inputs, empty: np.ndarray) -> str:
    """What became of the candidates: verdicts of all, and of the queries in `empty` (e,) with the most candidates."""
    table = Deepened(inputs["judged"], inputs["deepened"]).read(["query_row", "verdict"])
    table = table.set_column(1, "verdict", table["verdict"].cast(pa.string()))
    counts = table.group_by(["query_row", "verdict"]).aggregate([([], "count_all")])
    overall = _tally(counts)
    lines = ["  verdict and candidates", *(f"    {name:<20} {count:>12,}" for name, count in overall)]
    of_empty = counts.filter(pc.is_in(counts["query_row"], value_set=pa.array(empty)))
    total = of_empty.group_by("query_row").aggregate([("count_all", "sum")])
    worst = total.sort_by([("count_all_sum", "descending"), ("query_row", "ascending")]).slice(0, WORST)
    ids = inputs["queries"].read(["query_id"])["query_id"].take(worst["query_row"])
    if worst.num_rows:
        lines.append("  queries with a pair that gets none, most candidates first")
    for query, name, found in zip(worst["query_row"], ids, worst["count_all_sum"], strict=True):
        verdicts = _tally(of_empty.filter(pc.equal(of_empty["query_row"], query)))
        lines.append(
            f"    {name}: {found} candidates, " + ", ".join(f"{verdict} {count:,}" for verdict, count in verdicts)
        )
    without = len(empty) - total.num_rows
    if without:
        lines.append(f"  queries without any candidate: {without:,}")
    return "\n".join(lines)


def _tally(counts: pa.Table) -> list[tuple[str, int]]:
    """Verdicts and their candidates, the most frequent first."""
    summed = counts.group_by("verdict").aggregate([("count_all", "sum")])
    ordered = summed.sort_by([("count_all_sum", "descending"), ("verdict", "ascending")])
    return list(zip(ordered["verdict"].to_pylist(), ordered["count_all_sum"].to_pylist(), strict=True))
