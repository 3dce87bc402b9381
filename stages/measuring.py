"""Measures of a search, their intervals, and their paired comparison with another search over the same queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from stages.arrays import repeated
from stages.schemas import METRICS
from stages.settings import Settings
from stages.spec import Context, Source
from stages.statistics import bootstrap_interval, randomisation_test
from stages.trec import Measure, measure

QUERIES = 512
"""Queries measured at a time."""


class Measures(Settings):
    """What is measured, and how sure it is."""

    depth: int = Field(
        1000,
        ge=1,
        description="Documents retrieved for a query. MAP is over these; more cost time and space in proportion. evaluate "
        "refuses more than an approximate index was measured at (index.recall_depth).",
    )
    ndcg_cutoffs: tuple[int, ...] = Field((10,), description="Ranks at which nDCG is cut off.")
    mrr_cutoffs: tuple[int, ...] = Field((10,), description="Ranks at which the reciprocal rank is cut off.")
    recall_cutoffs: tuple[int, ...] = Field((100,), description="Ranks at which recall is cut off.")
    bootstrap: int = Field(
        2000,
        ge=100,
        le=1_000_000,
        description="Resamples of the queries for a 95% interval. More make its ends steadier.",
    )
    randomisations: int = Field(
        10_000,
        ge=100,
        le=10_000_000,
        description="Random sign patterns for a p-value, which is at least 1 / (this + 1).",
    )
    seed: int = Field(0, ge=0, description="Seed of resamples and sign patterns.")

    @model_validator(mode="after")
    def _cutoffs_within_depth(self) -> Self:
        cutoffs = (*self.ndcg_cutoffs, *self.mrr_cutoffs, *self.recall_cutoffs)
        if any(cutoff < 1 or cutoff > self.depth for cutoff in cutoffs):
            raise ValueError(f"every cutoff must be from 1 to depth ({self.depth})")
        return self

    def measures(self) -> tuple[Measure, ...]:
        groups = (("nDCG", self.ndcg_cutoffs), ("MRR", self.mrr_cutoffs), ("Recall", self.recall_cutoffs))
        return (*(Measure(name, cutoff) for name, cutoffs in groups for cutoff in cutoffs), Measure("MAP", None))


@dataclass(frozen=True)
class Topics:
    """The queries that are measured, by row: those of the splits that have a relevant document."""

    rows: np.ndarray  # int32 (m,)
    splits: np.ndarray  # str (m,)
    relevant: list[dict[int, int]]  # (m,), relevance by document row, all above 0


@dataclass(frozen=True)
class Hits:
    """What one system found for the topics."""

    system: str
    rows: np.ndarray  # int32 (m, k), -1 where there is no hit
    scores: np.ndarray  # float64 (m, k), equal scores by row


Values = Mapping[tuple[str, Measure], tuple[np.ndarray, np.ndarray]]
"""For each split and measure of a system: query rows int32 (n,) in order, and their values float64 (n,)."""


def measured(
    config: Measures, context: Context, topics: Topics, hits: Hits, *, fallen: np.ndarray, splits: Sequence[str]
) -> Values:
    """The values of the topics by each measure, one split after the other.

    `fallen` are the scores of the hits as `stages.trec.falling` gives them: float32 (m, k).
    """
    measures = config.measures()
    blocks = []
    with context.progress(f"measures of {hits.system}", len(topics.rows)) as bar:
        for start in range(0, len(topics.rows), QUERIES):
            block = slice(start, start + QUERIES)
            blocks.append(measure(hits.rows[block], fallen[block], topics.relevant[block], measures))
            bar.advance(len(blocks[-1]))
    values = np.concatenate(blocks)  # (m, len(measures))
    parts = {split: topics.splits == split for split in splits}
    return {
        (split, m): (topics.rows[inside], values[inside, i])
        for split, inside in parts.items()
        for i, m in enumerate(measures)
    }


def metrics_table(config: Measures, round: int, collection: str | None, system: str, values: Values) -> pa.Table:
    """A table of metrics: for each split and measure the mean with its interval, then the value of each query."""
    tables = []
    for split in _splits(values):
        measures = [m for s, m in values if s == split]
        low, high = bootstrap_interval(
            np.stack([values[split, m][1] for m in measures], axis=1), config.bootstrap, config.seed
        )
        for i, m in enumerate(measures):
            rows, each = values[split, m]
            count = len(rows) + 1
            nothing = [None] * len(rows)
            columns = [
                pa.array(np.full(count, round, dtype=np.int32)),
                repeated(collection, count),
                repeated(system, count),
                repeated(split, count),
                repeated(m.name, count),
                pa.array([m.cutoff] * count, pa.int32()),
                pa.array([None, *rows.tolist()], pa.int32()),
                pa.array(np.concatenate([[each.mean()], each])),
                pa.array([low[i], *nothing], pa.float64()),
                pa.array([high[i], *nothing], pa.float64()),
            ]
            tables.append(pa.table(columns, schema=METRICS))
    return pa.concat_tables(tables)


def mean_row(round: int, split: str, measure: Measure, value: float, interval: tuple[float, float]) -> dict[str, Any]:
    """A row of metrics for the mean of the dense system by a measure that is not over queries."""
    return {
        "round": round, "collection": None, "system": "dense", "split": split, "measure": measure.name,
        "cutoff": measure.cutoff, "query_row": None, "value": value, "low": interval[0], "high": interval[1],
    }  # fmt: skip


def stored(metrics: Source, system: str, collection: str | None) -> Values:
    """The values per query of one system on one collection in a table of metrics."""
    table = metrics.read(["collection", "system", "split", "measure", "cutoff", "query_row", "value"])
    names = table.column("collection").cast(pa.string())
    own = pc.is_null(names) if collection is None else pc.fill_null(pc.equal(names, collection), False)
    system_there = pc.equal(table.column("system").cast(pa.string()), system)
    table = table.filter(pc.and_(pc.and_(own, system_there), pc.is_valid(table.column("query_row"))))
    keys = zip(
        table.column("split").cast(pa.string()).to_pylist(),
        table.column("measure").cast(pa.string()).to_pylist(),
        table.column("cutoff").to_pylist(),
        strict=True,
    )
    rows, values = table.column("query_row").to_numpy(), table.column("value").to_numpy()
    places: dict[tuple[str, Measure], list[int]] = {}
    for i, (split, name, cutoff) in enumerate(keys):
        places.setdefault((split, Measure(name, cutoff)), []).append(i)
    return {key: (rows[at], values[at]) for key, at in places.items()}


def compared(
    config: Measures, log: Callable[[str], None], this: Values, other: Values, names: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Rows of comparisons: this minus the other, over the queries that both have. `names` are the columns that name the two."""
    for split in _splits(this):
        measures = [m for s, m in this if s == split and (s, m) in other]
        if not measures:
            continue
        rows, here, there = np.intersect1d(
            this[split, measures[0]][0], other[split, measures[0]][0], return_indices=True
        )
        apart = len(this[split, measures[0]][0]) - len(rows)
        if apart:
            log(f"{apart} queries of {split} were not measured in round {names['against_round']} and are not compared")
        if not len(rows):
            continue
        differences = np.stack(
            [this[split, m][1][here] - other[split, m][1][there] for m in measures], axis=1
        )  # (n, measures)
        low, high = bootstrap_interval(differences, config.bootstrap, config.seed)
        p_values = randomisation_test(differences, config.randomisations, config.seed)
        for i, m in enumerate(measures):
            yield {
                **names,
                "split": split,
                "measure": m.name,
                "cutoff": m.cutoff,
                "difference": float(differences[:, i].mean()),
                "low": float(low[i]),
                "high": float(high[i]),
                "p_value": float(p_values[i]),
                "queries": len(rows),
            }


def earlier(round: int, names: Sequence[str]) -> dict[str, int]:
    """The inputs, of `names` for the first round and the one before, to compare with, and their rounds; each round once."""
    found = {0: names[0], round - 1: names[1]} if round > 1 else {0: names[0]} if round else {}
    return {name: number for number, name in found.items()}


def _splits(values: Values) -> list[str]:
    return list(dict.fromkeys(split for split, _ in values))
