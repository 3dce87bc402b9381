"""Means, comparisons and counts, as the page shows them and as one flat JSON object."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from stages.errors import ArtefactError
from stages.spec import Source


@dataclass(frozen=True)
class Mean:
    """A measure over all queries of a split, with its 95% interval."""

    round: int
    collection: str | None
    """Name of a guard; None is the collection that is trained on."""
    system: str
    split: str
    measure: str
    value: float
    low: float
    high: float

    @property
    def key(self) -> str:
        return f"{round_name(self.round)}.{system_key(self.system, self.collection)}.{self.split}.{self.measure}"


@dataclass(frozen=True)
class Comparison:
    """The dense system of a round minus another system, over the queries of a split."""

    round: int
    collection: str | None
    against_round: int
    against_system: str
    split: str
    measure: str
    difference: float
    low: float
    high: float
    p_value: float
    queries: int

    @property
    def key(self) -> str:
        against = f"{round_name(self.against_round)}.{self.against_system}"
        system = system_key("dense", self.collection)
        return f"{round_name(self.round)}.{system}.{self.split}.{self.measure}.minus.{against}"


def round_name(round: int) -> str:
    return f"round-{round:02d}"


def system_key(system: str, collection: str | None) -> str:
    """`dense` and `bm25`; on a guard `guard.NAME`, whose system is always dense."""
    return system if collection is None else f"guard.{collection}"


def system_label(system: str, round: int) -> str:
    """What a person calls a system of a round."""
    if system == "bm25":
        return "BM25"
    return "Untrained" if round == 0 else f"Trained, round {round}"


def means(metrics: Source) -> list[Mean]:
    """The rows of a table of metrics that are means, in their order."""
    found: list[Mean] = []
    columns = ["round", "collection", "system", "split", "measure", "cutoff", "query_row", "value", "low", "high"]
    for batch in metrics.batches(columns):
        for row in batch.filter(pc.is_null(batch.column("query_row"))).to_pylist():
            name = _measure(row["measure"], row["cutoff"])
            names = (row["round"], row["collection"], row["system"], row["split"])
            found.append(Mean(*names, name, row["value"], row["low"], row["high"]))
    return found


def comparisons(source: Source) -> list[Comparison]:
    """The rows of a table of comparisons, in their order."""
    rows = pa.Table.to_pylist(source.read())
    return [
        Comparison(
            **{**{k: v for k, v in row.items() if k != "cutoff"}, "measure": _measure(row["measure"], row["cutoff"])}
        )
        for row in rows
    ]


def flat(every: Iterable[Mean], compared: Iterable[Comparison], counts: Mapping[str, float]) -> str:
    """metrics.json: one object of numbers, sorted by key. Raises ArtefactError for a value that is not a number."""
    values: dict[str, float] = dict(counts)
    for mean in every:
        values |= {mean.key: mean.value, f"{mean.key}.low": mean.low, f"{mean.key}.high": mean.high}
    for c in compared:
        values |= {c.key: c.difference, f"{c.key}.low": c.low, f"{c.key}.high": c.high, f"{c.key}.p_value": c.p_value}
    for key, value in values.items():
        if not math.isfinite(value):
            raise ArtefactError(
                "a figure of the report is not a number", where=key, got=value, try_="run evaluate again"
            )
    return json.dumps(values, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _measure(name: str, cutoff: int | None) -> str:
    return name if cutoff is None else f"{name}@{cutoff}"
