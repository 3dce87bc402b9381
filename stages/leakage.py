"""How often the filters keep what is relevant, and what else they throw away.

A `Trial` holds candidates that are relevant without the judge knowing it, and all candidates beside them. `tally` asks
each filter once; from then on the filters can be counted alone or together, over all rows or within a band, and one of them
with other thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from stages.judging import Candidates
from stages.verdicts import Filter

Z = 1.959963984540054
"""The quantile of the normal distribution for intervals of 95%."""


@dataclass(frozen=True)
class Block:
    """Candidates of one part, and the rows of them that count."""

    candidates: Candidates
    chosen: np.ndarray  # bool (n,)
    negative: np.ndarray  # bool (n,), known to be not relevant; of the chosen only


@dataclass(frozen=True)
class Trial:
    """What an estimator gathered.

    `relevant` are blocks whose chosen rows are relevant, though the judge takes them for ordinary candidates. `others` are
    blocks whose chosen rows are the candidates that are not known to be relevant. `unreached` relevant documents are not
    among the candidates: they could never have become negatives.
    """

    estimator: str
    relevant: tuple[Block, ...]
    others: tuple[Block, ...]
    unreached: int = 0


@dataclass(frozen=True)
class Rows:
    """n chosen rows and which of the f filters drop each."""

    cluster: np.ndarray  # int64 (n,), text of the query: rows of one text hang together
    query_row: np.ndarray  # int32 (n,)
    positive_row: np.ndarray  # int32 (n,), -1 for none
    rank: np.ndarray  # int32 (n,)
    gap: np.ndarray  # float64 (n,), (p − s)/|p|, NaN where it is not known
    negative: np.ndarray  # bool (n,)
    drop: np.ndarray  # bool (f, n)

    def dropped(self, filters: Sequence[int]) -> np.ndarray:
        """Whether one of the filters, named by their places, drops a row: bool (n,)."""
        return np.asarray(self.drop[list(filters)].any(axis=0))


class Rate(NamedTuple):
    """How many of the relevant rows leak: are kept, and so could become negatives. NaN where there are none."""

    queries: int
    hidden: int
    leaked: int
    rate: float
    low: float
    high: float


class Loss(NamedTuple):
    """How many of the other rows are thrown away: of those without a judgement, and of those known to be not relevant."""

    unjudged: int
    unjudged_dropped: int
    negatives: int
    negatives_dropped: int


@dataclass(frozen=True)
class Tally:
    """The rows of a trial, each labelled by every filter."""

    relevant: Rows
    others: Rows

    def rate(self, filters: Sequence[int], among: np.ndarray | None = None) -> Rate:
        """The leak rate of these filters together, of the relevant rows in the mask `among`."""
        kept, cluster = ~self.relevant.dropped(filters), self.relevant.cluster
        if among is not None:
            kept, cluster = kept[among], cluster[among]
        if not len(kept):
            return Rate(0, 0, 0, np.nan, np.nan, np.nan)
        return Rate(
            len(np.unique(cluster)), len(kept), int(kept.sum()), float(kept.mean()), *cluster_interval(kept, cluster)
        )

    def loss(self, filters: Sequence[int], among: np.ndarray | None = None) -> Loss:
        """What these filters together throw away of the other rows in the mask `among`."""
        dropped, negative = self.others.dropped(filters), self.others.negative
        if among is not None:
            dropped, negative = dropped[among], negative[among]
        lost = int(np.count_nonzero(dropped & negative))
        negatives = int(np.count_nonzero(negative))
        return Loss(len(dropped) - negatives, int(np.count_nonzero(dropped)) - lost, negatives, lost)

    def with_filter(self, place: int, relevant: np.ndarray, others: np.ndarray) -> Tally:
        """The same with other answers, bool (n,), of the filter at `place`."""
        return Tally(_answered(self.relevant, place, relevant), _answered(self.others, place, others))


def tally(trial: Trial, filters: Sequence[Filter]) -> Tally:
    """Asks each filter about every row of a trial."""
    return Tally(_rows(trial.relevant, filters), _rows(trial.others, filters))


def answers(blocks: Sequence[Block], rule: Filter) -> np.ndarray:
    """Which of the chosen rows of all blocks one filter drops: bool (n,)."""
    return np.concatenate(
        [np.zeros(0, bool), *(rule.label(block.candidates).drop[block.chosen] for block in blocks)], dtype=bool
    )


def _answered(rows: Rows, place: int, answer: np.ndarray) -> Rows:
    drop = rows.drop.copy()
    drop[place] = answer
    return replace(rows, drop=drop)


def _rows(blocks: Sequence[Block], filters: Sequence[Filter]) -> Rows:
    def gather(kind: type, columns: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([np.zeros(0, kind), *columns], dtype=kind)

    seen = [(block.candidates, block.chosen) for block in blocks]
    drop = [answers(blocks, rule) for rule in filters]
    negative = gather(np.bool_, [block.negative[block.chosen] for block in blocks])
    return Rows(
        gather(np.int64, [c.known.query_text[c.query_row[chosen]] for c, chosen in seen]),
        gather(np.int32, [c.query_row[chosen] for c, chosen in seen]),
        gather(np.int32, [c.positive_row[chosen] for c, chosen in seen]),
        gather(np.int32, [c.rank[chosen] for c, chosen in seen]),
        gather(np.float64, [_gap(c.score[chosen], c.positive_score[chosen]) for c, chosen in seen]),
        negative,
        np.array(drop, dtype=bool).reshape(len(filters), len(negative)),
    )


def _gap(score: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """How far a score is below that of the positive, as a share of it: float64 (n,), NaN where it is not known."""
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = (positive - score) / np.abs(positive)
    return np.where(np.isfinite(gap), gap, np.nan)


def cluster_interval(hits: np.ndarray, cluster: np.ndarray) -> tuple[float, float]:
    """The 95% interval of the share of hits, bool (n,), where rows of one cluster, int64 (n,), hang together; n > 0.

    Wilson's interval (JASA 1927) for n / deff rows, where deff, Kish's design effect, is the variance of a ratio over
    clusters against that of independent rows (Dean and Pagano, Journal of Survey Statistics and Methodology 2015). With one
    row a cluster it is Wilson's interval. A share of 0 or 1 says nothing about the clusters: each then counts as one row.
    """
    n, p = len(hits), float(hits.mean())
    _, place = np.unique(cluster, return_inverse=True)
    clusters = int(place.max()) + 1
    size = float(n)
    if clusters < n:
        size = float(clusters)
        if 0 < p < 1 and clusters > 1:
            residual = np.bincount(place, hits - p)
            variance = clusters / (clusters - 1) * float(np.sum(residual**2)) / n**2
            size = min(float(n), p * (1 - p) / variance) if variance > 0 else float(n)
    return wilson(p, size)


def wilson(share: float, size: float) -> tuple[float, float]:
    """Wilson's 95% interval of a share of `size` independent rows."""
    middle = share + Z**2 / (2 * size)
    half = Z * float(np.sqrt(share * (1 - share) / size + Z**2 / (4 * size**2)))
    scale = 1 + Z**2 / size
    low = 0.0 if share == 0 else max(0.0, (middle - half) / scale)
    return low, 1.0 if share == 1 else min(1.0, (middle + half) / scale)


def at_most(rate: Rate, loss: Loss) -> float:
    """An upper bound of the share of false negatives among the kept candidates without a judgement; NaN where unknown.

    Of the u candidates without a judgement, a share π is relevant. The filters throw away d = π(1 − L) + (1 − π)·d0 of all,
    where L is the leak rate and d0 ≥ 0 what they throw away of those not relevant. So π ≤ d / (1 − L), and the share among
    the kept is πL / (1 − d). L is taken at the upper end of its interval. Assumes that relevant documents without a label
    are treated by the filters as hidden labelled ones are.
    """
    if not rate.hidden or not loss.unjudged or loss.unjudged == loss.unjudged_dropped:
        return float("nan")
    d = loss.unjudged_dropped / loss.unjudged
    prevalence = 1.0 if rate.high >= 1 else min(1.0, d / (1 - rate.high))
    return min(1.0, prevalence * rate.high / (1 - d))


def rogan_gladen(rate: Rate, loss: Loss) -> float:
    """The share of false negatives among the kept candidates without a judgement, from graded judgements; NaN where unknown.

    As in `at_most`, but d0 is measured on documents judged not relevant, so that π = (d − d0) / (1 − L − d0) (Rogan and
    Gladen, American Journal of Epidemiology 1978), cut to 0 to 1. Assumes also that what was judged not relevant is thrown
    away as often as what is not relevant and was not judged. NaN where the filters do not tell the two apart.
    """
    if not rate.hidden or not loss.negatives or not loss.unjudged or loss.unjudged == loss.unjudged_dropped:
        return float("nan")
    d, d0 = loss.unjudged_dropped / loss.unjudged, loss.negatives_dropped / loss.negatives
    if 1 - rate.rate - d0 <= 0:
        return float("nan")
    prevalence = min(1.0, max(0.0, (d - d0) / (1 - rate.rate - d0)))
    return min(1.0, prevalence * rate.rate / (1 - d))


def from_coverage(rate: Rate, loss: Loss, found: int, labelled: float) -> float:
    """The share of false negatives among the kept candidates without a judgement, when a share `labelled` of what is relevant
    has a label and `found` labelled documents are among the candidates; NaN where unknown.

    Labels that are a random share a of what is relevant leave found·(1 − a)/a relevant candidates without one; L of them are
    kept.
    """
    kept = loss.unjudged - loss.unjudged_dropped
    if not rate.hidden or kept <= 0:
        return float("nan")
    return min(1.0, rate.rate * found * (1 - labelled) / labelled / kept)
