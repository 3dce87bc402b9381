"""What a round's estimates say, as the page shows it: what leaks through each filter, and what is thrown away for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from stages.reports import charts
from stages.reports.charts import Interval
from stages.spec import Source

ALL = "all"
"""The name of all filters together."""

FEWEST = 20
"""Hidden positives below which no bound is shown: its interval would be wider than half the scale."""

VACUOUS = 0.5
"""A bound from here on says nothing that helps."""

SAYS = {
    "hidden_positive": "Labelled documents were hidden from the filters: the leak rate is the share that would have become negatives.",
    "hierarchy": "A proxy, not a leak rate: the share of the relatives of positives that is kept as negatives.",
}


@dataclass(frozen=True)
class Leak:
    """One row of the estimates: a filter alone or all of them, over all candidates or a band of them."""

    name: str
    band: str
    lower: float | None
    upper: float | None
    hidden: int
    leaked: int
    rate: float | None
    low: float | None
    high: float | None
    unjudged_dropped: float | None
    """Share of the candidates without a judgement that is thrown away."""
    negatives_dropped: float | None
    """Share of those known to be not relevant that is thrown away."""

    @property
    def says(self) -> str:
        """The band as a person reads it: ranks 1–5, gap 5% to 10%."""
        if self.band == "rank":
            first = int(self.lower or 0)
            if self.upper is None:
                return f"rank {first:,} on"
            last = int(self.upper) - 1
            return f"rank {first:,}" if last == first else f"rank {first:,}–{last:,}"
        if self.lower is None:
            return "gap" if self.upper is None else f"gap < {self.upper:.0%}"
        return f"gap ≥ {self.lower:.0%}" if self.upper is None else f"gap {self.lower:.0%} to {self.upper:.0%}"


@dataclass(frozen=True)
class Leaks:
    """The estimates of one estimator in one round."""

    estimator: str
    filters: Sequence[Leak]
    """Over all candidates: each filter alone, in the order of judging, and all of them at the end."""
    bands: Sequence[Leak]
    """All filters together, by rank and then by gap."""
    false_negatives: float | None
    at_most: float | None

    @property
    def note(self) -> str:
        """What the figures are."""
        return SAYS.get(self.estimator, self.estimator)

    @property
    def graded(self) -> bool:
        """Whether it is known of some candidates that they are not relevant."""
        return any(leak.negatives_dropped is not None for leak in self.filters)

    @property
    def tells(self) -> bool:
        """Whether enough was hidden for the bound on the kept to say anything."""
        return self.at_most is not None and self.filters[-1].hidden >= FEWEST and self.at_most < VACUOUS

    def charts(self) -> list[tuple[str, str, Markup]]:
        """Caption, note and chart of the leak rate by filter, by rank and by gap."""
        by = {band: [leak for leak in self.bands if leak.band == band] for band in ("rank", "gap")}
        drawn = [
            ("by filter", "Each filter alone, and all of them together.", [(leak.name, leak) for leak in self.filters]),
            ("by rank", "All filters together.", [(leak.says, leak) for leak in by["rank"]]),
            (
                "by distance to the positive",
                "All filters together. The gap is how far a score lies below its positive's, as a share of it.",
                [(leak.says, leak) for leak in by["gap"]],
            ),
        ]
        what = "Leak rate" if self.estimator == "hidden_positive" else "Relatives kept"
        return [
            (f"{what} {name}", note, charts.intervals(f"{what} {name}", "share kept as negatives", intervals))
            for name, note, rows in drawn
            if (intervals := _intervals(rows))
        ]

    def counts(self, name: str) -> Mapping[str, float]:
        """The overall figures of all filters, by the keys of metrics.json that begin with `name`."""
        leak = self.filters[-1]
        figures = {
            "leak": leak.rate, "leak.low": leak.low, "leak.high": leak.high,
            "unjudged_dropped": leak.unjudged_dropped, "negatives_dropped": leak.negatives_dropped,
            "false_negatives": self.false_negatives, "false_negatives.at_most": self.at_most,
        }  # fmt: skip
        found = {f"{name}.{self.estimator}.{key}": value for key, value in figures.items() if value is not None}
        return {**found, f"{name}.{self.estimator}.hidden": leak.hidden}


def read(estimates: Source) -> list[Leaks]:
    """The estimators of a round that had anything to go by, in the order of the table."""
    rows: list[dict[str, Any]] = [_finite(row) for row in estimates.read().to_pylist()]
    found = []
    for estimator in dict.fromkeys(row["estimator"] for row in rows):
        mine = [row for row in rows if row["estimator"] == estimator]
        overall = [row for row in mine if row["band"] == "overall"]
        if not any(row["hidden"] for row in overall):
            continue
        bands = [_leak(row) for row in mine if row["band"] != "overall" and row["filter"] == ALL and row["hidden"]]
        last = overall[-1]
        shares = (last["false_negatives"], last["false_negatives_at_most"])
        ordered = sorted(bands, key=lambda leak: leak.band != "rank")  # rank first, each in the order of the table
        found.append(Leaks(estimator, [_leak(row) for row in overall], ordered, *shares))
    return found


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """The row with None for what is no number."""
    return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()}


def _leak(row: Mapping[str, Any]) -> Leak:
    names = ("band", "lower", "upper", "hidden", "leaked", "rate", "low", "high")
    return Leak(
        name="all together" if row["filter"] == ALL else row["filter"],
        **{name: row[name] for name in names},
        unjudged_dropped=_share(row["unjudged_dropped"], row["unjudged"]),
        negatives_dropped=_share(row["negatives_dropped"], row["negatives"]),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _intervals(rows: Sequence[tuple[str, Leak]]) -> list[Interval]:
    return [
        Interval(name, leak.rate, leak.low, leak.high)
        for name, leak in rows
        if leak.rate is not None and leak.low is not None and leak.high is not None
    ]
