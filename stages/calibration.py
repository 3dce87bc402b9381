"""The trade-off of one filter's threshold: what leaks against what is thrown away.

Everything is computed from stored candidates. The other filters are asked once; only the one that is swept is asked again
for each threshold.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Union, cast, get_args, get_origin

import numpy as np

from stages.errors import ConfigError, HardrockError, suggestion
from stages.judging import Candidates
from stages.leakage import Block, Loss, Rate, Rows, Tally, Trial, Z, answers, tally
from stages.registry import Member, build
from stages.verdicts import Filter

SHARES = (
    0,
    0.005,
    0.01,
    0.02,
    0.03,
    0.05,
    0.075,
    *(round(0.1 + 0.05 * i, 2) for i in range(17)),
    0.925,
    0.95,
    0.97,
    0.98,
    0.99,
    0.995,
    1,
)
"""Shares of the relevant candidates that change sides at the thresholds that are proposed."""

PROBES = (1.0, 2.0, 0.25, 0.5, 3.0)
"""Thresholds at which a filter is asked for its limit; the first two that it can have."""

FINER = 8
"""Thresholds that are tried between the chosen one and its neighbours."""


class Sweep(NamedTuple):
    """A filter's numeric field: the filters with it at `place`, and the field's name."""

    filters: tuple[Filter, ...]
    place: int
    field: str

    def at(self, threshold: float) -> Filter:
        """The filter with another threshold. Raises ConfigError when it cannot have it."""
        member = cast(Member, self.filters[self.place])
        fields = {key: value for key, value in member.semantic().items() if key != "name"}
        value = int(threshold) if self.whole else threshold
        return cast(Filter, build("filters", member.name, {**fields, self.field: value}))

    @property
    def current(self) -> float | None:
        """The threshold that is configured; None when there is none."""
        value = getattr(self.filters[self.place], self.field)
        return None if value is None else float(value)

    @property
    def whole(self) -> bool:
        """Whether the threshold is a whole number."""
        return _numeric(cast(Member, self.filters[self.place]))[self.field] is int

    @property
    def key(self) -> tuple[str, ...]:
        """Its place in the configuration."""
        return ("judge", "filters", self.filters[self.place].name, self.field)


class Point(NamedTuple):
    """One threshold and what it does together with the other filters."""

    threshold: float
    rate: Rate
    loss: Loss
    kept_per_query: float
    pairs_full: float  # share of the (query, positive) pairs with all negatives that sampling asks for

    @property
    def thrown_away(self) -> float:
        """Share of the true negatives thrown away where they are known, else of what has no judgement; NaN for neither."""
        if self.loss.negatives:
            return self.loss.negatives_dropped / self.loss.negatives
        return self.loss.unjudged_dropped / self.loss.unjudged if self.loss.unjudged else float("nan")


@dataclass(frozen=True)
class Pairs:
    """The (query, positive) pairs to be served with `wanted` negatives each."""

    query_row: np.ndarray  # int32 (p,)
    positive_row: np.ndarray  # int32 (p,)
    per_positive: bool
    wanted: int

    def served(self, rows: Rows, kept: np.ndarray) -> tuple[float, float]:
        """Kept candidates a query, and the share of pairs that get all their negatives."""
        if not len(self.query_row):
            return float("nan"), float("nan")
        have = self._key(rows.query_row[kept], rows.positive_row[kept])
        values, counts = np.unique(have, return_counts=True)
        wanted = self._key(self.query_row, self.positive_row)
        place = np.minimum(np.searchsorted(values, wanted), max(0, len(values) - 1))
        got = np.where(values[place] == wanted, counts[place], 0) if len(values) else np.zeros(len(wanted), np.int64)
        return int(kept.sum()) / len(np.unique(self.query_row)), float(np.mean(got >= self.wanted))

    def _key(self, query: np.ndarray, positive: np.ndarray) -> np.ndarray:
        key: np.ndarray = (query.astype(np.int64) << 32) + (positive if self.per_positive else 0)
        return key


class Evidence(NamedTuple):
    """The trial to go by, and why this one."""

    trial: Trial
    because: str


def needed(leak: float) -> int:
    """Independent relevant candidates without which no threshold can be shown to leak at most `leak`, 0 < leak ≤ 1.

    Where none of n leaks, Wilson's interval ends at Z² / (n + Z²); that is at most `leak` from n = Z²·(1 − leak) / leak on.
    """
    return max(1, int(np.ceil(Z**2 * (1 - leak) / leak)))


def by_evidence(found: Sequence[Trial], leak: float) -> Evidence | None:
    """Of trials in the order of preference the first with evidence enough for `leak`, else the one with most; None for none.

    Evidence is counted in different texts of queries: relevant candidates of one query are not independent.
    """
    counts = {trial.estimator: _queries(trial) for trial in found}
    usable = [trial for trial in found if counts[trial.estimator]]
    if not usable:
        return None
    least = needed(leak)
    chosen = next((trial for trial in usable if counts[trial.estimator] >= least), None)
    wants = f"{least:,} are needed to show a leak rate of {leak:g}"
    if chosen is None:
        chosen = max(usable, key=lambda trial: counts[trial.estimator])
        return Evidence(chosen, f"it has the most evidence, {counts[chosen.estimator]:,} queries, and {wants}")
    because = f"it has {counts[chosen.estimator]:,} queries, and {wants}"
    for trial in found[: list(found).index(chosen)]:
        because += f"; {trial.estimator} has {counts[trial.estimator]:,}"
    return Evidence(chosen, because)


def _queries(trial: Trial) -> int:
    """Different texts of queries with a relevant candidate."""
    texts = [b.candidates.known.query_text[b.candidates.query_row[b.chosen]] for b in trial.relevant]
    return len(np.unique(np.concatenate([np.zeros(0, np.int64), *texts])))


def sweep(filters: Sequence[Filter], wanted: str | None) -> Sweep:
    """The field that `wanted` names: a filter with one numeric field, or `filter.field`; None: the only one configured.

    A filter that is not configured comes last. Raises ConfigError when the name is unknown or stands for several.
    """
    if wanted is None:
        own = [f"{rule.name}.{field}" for rule in filters for field in _numeric(cast(Member, rule))
               if getattr(rule, field) is not None]  # fmt: skip
        if len(own) != 1:
            raise ConfigError("which threshold?", got=", ".join(own) or "no filter with a threshold", try_="name one")
        wanted = own[0]
    name, _, field = wanted.partition(".")
    places = [place for place, rule in enumerate(filters) if rule.name == name]
    if not places:
        filters = (*filters, _bare(name, field))
        places = [len(filters) - 1]
    numeric = _numeric(cast(Member, filters[places[0]]))
    if not numeric:
        raise ConfigError(f"{name} has no numeric threshold", try_="another filter")
    if not field and len(numeric) > 1:
        raise ConfigError(f"{name} has several thresholds", try_=" or ".join(f"{name}.{each}" for each in numeric))
    field = field or next(iter(numeric))
    if field not in numeric:
        raise ConfigError(f"{name} has no threshold {field!r}", try_=suggestion(field, numeric))
    return Sweep(tuple(filters), places[0], field)


def _bare(name: str, field: str) -> Filter:
    """A filter that is not configured, with its defaults; where it cannot be without the field, with any value of it."""
    try:
        return cast(Filter, build("filters", name, {}))
    except ConfigError:
        if not field:
            raise
        return cast(Filter, build("filters", name, {field: 1}))


def _numeric(rule: Member) -> dict[str, type]:
    """The numeric fields of a filter that can change its result: int or float."""
    found: dict[str, type] = {}
    for name, field in type(rule).model_fields.items():
        union = get_origin(field.annotation) in (Union, types.UnionType)
        kinds = set(get_args(field.annotation)) if union else {field.annotation}
        kinds -= {type(None)}
        hidden = isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("speed_only")
        if not hidden and kinds in ({int}, {float}) and name != "seed":
            found[name] = kinds.pop()
    return found


def curve(trial: Trial, chosen: Sweep, thresholds: Sequence[float], pairs: Pairs) -> list[Point]:
    """The trade-off at each threshold, in order."""
    base = tally(trial, chosen.filters)
    return [_point(base, trial, chosen, threshold, pairs) for threshold in thresholds]


def _point(base: Tally, trial: Trial, chosen: Sweep, threshold: float, pairs: Pairs) -> Point:
    rule = chosen.at(threshold)
    here = base.with_filter(chosen.place, answers(trial.relevant, rule), answers(trial.others, rule))
    everyone = range(len(chosen.filters))
    return Point(
        threshold,
        here.rate(everyone),
        here.loss(everyone),
        *pairs.served(here.others, ~here.others.dropped(everyone)),
    )


def calibrated(
    trial: Trial, chosen: Sweep, leak: float, pairs: Pairs, *, upper: bool = True
) -> tuple[list[Point], Point | None]:
    """The trade-off at thresholds worth trying, finer around the best one, ascending; and the best one, see `choose`."""
    points = curve(trial, chosen, thresholds(trial, chosen), pairs)
    best = choose(points, leak, upper=upper)
    if best is not None:
        place = points.index(best)
        around = [point.threshold for point in points[max(0, place - 1) : place + 2]]
        between = {
            _round(chosen, t) for low, high in pairwise(around) for t in np.linspace(low, high, FINER + 2)[1:-1]
        } - set(around)
        points += curve(trial, chosen, [t for t in sorted(between) if _at(chosen, t) is not None], pairs)
        points.sort(key=lambda point: point.threshold)
        best = choose(points, leak, upper=upper)
    return points, best


def choose(points: Sequence[Point], leak: float, *, upper: bool = True) -> Point | None:
    """The point that throws least away among those that leak at most `leak`: the smaller leak first where that is equal.

    With `upper` it is the upper end of the interval that must not be above. None when no point does it.
    """
    safe = [point for point in points if (point.rate.high if upper else point.rate.rate) <= leak]
    return min(safe, key=lambda point: (point.thrown_away, point.rate.rate, point.threshold), default=None)


def thresholds(trial: Trial, chosen: Sweep) -> list[float]:
    """Thresholds worth trying, ascending: where relevant candidates change sides, and the one that is configured.

    The limit of most filters is a + b·t in the threshold t. Two probes give a and b of each row, and so the t at which its
    score meets the limit. Rounded to four digits. Where the probes say nothing, quantiles of the evidence itself.
    """
    turns = [turn for block in trial.relevant if len(turn := _turns(block, chosen))]
    found = {chosen.current} - {None}
    if turns:
        values = np.concatenate(turns)
        spare = 1.0 if chosen.whole else max(1e-6, 0.001 * float(np.ptp(values)))
        ends = (values.min() - spare, values.max() + spare)  # beyond the last turn, on either side
        found |= {_round(chosen, t) for t in (*np.quantile(values, SHARES), *ends)}
        found |= {0.0} if ends[0] < 0 < ends[1] else set()
    return [t for t in sorted(cast(set[float], found)) if _at(chosen, t) is not None]


def _round(chosen: Sweep, threshold: float) -> float:
    return float(np.ceil(threshold)) if chosen.whole else float(f"{threshold:.4g}")


def _turns(block: Block, chosen: Sweep) -> np.ndarray:
    """The finite thresholds at which chosen rows of a block meet the filter's limit."""
    if not block.chosen.any():
        return np.zeros(0)
    seen = _only(block.candidates, block.chosen)
    probes = [(t, rule.label(seen)) for t in PROBES if (rule := _at(chosen, t)) is not None][:2]
    if len(probes) < 2:
        return np.zeros(0)
    (first, one), (second, two) = probes
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = (two.limit - one.limit) / (second - first)
        turn = first + (one.value - one.limit) / slope
    turn = turn[np.isfinite(turn)]
    return np.asarray(turn if len(turn) else one.value[np.isfinite(one.value)])


def _only(seen: Candidates, rows: np.ndarray) -> Candidates:
    columns = (seen.query_row, seen.doc_row, seen.rank, seen.score, seen.positive_row, seen.positive_score)
    return Candidates(seen.known, *(column[rows] for column in columns))


def _at(chosen: Sweep, threshold: float) -> Filter | None:
    try:
        return chosen.at(threshold)
    except HardrockError:
        return None
