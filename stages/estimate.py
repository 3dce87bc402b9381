"""Estimates how many false negatives the filters let through, and what they throw away for it.

Two estimators, each with its own name in the table. `hidden_positive` hides known positives from the judge and counts how
many are kept (see stages.hiding). `hierarchy` takes relatives of positives as a proxy (see stages.hierarchy). Both are
counted for each filter alone and for all together, over all candidates and within bands of rank and of score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from stages import hiding
from stages.arrays import coded
from stages.errors import ConfigError
from stages.hiding import HIDDEN_POSITIVE, Mined
from stages.hierarchy import parents
from stages.hierarchy import trial as hierarchy_trial
from stages.leakage import Loss, Rate, Rows, Trial, at_most, from_coverage, rogan_gladen, tally
from stages.schemas import ESTIMATES
from stages.settings import Settings
from stages.spec import WHOLE, Context, Inputs, Part, Spec
from stages.verdicts import Filter, rules_of

ALL = "all"
"""The name of all filters together."""


FEW = 100
"""Hidden positives below which a message says that the interval is wide."""


class EstimateConfig(Settings):
    """What to hide, and what is known beside the labels."""

    seed: int = Field(0, ge=0, lt=2**63, description="seed of what is hidden; another seed is another sample")
    share: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="share of a query's positives to hide, at least one and never all; none hides one of each query, "
        "which leaves the judge closest to what it knows",
    )
    complete: bool = Field(
        False,
        description="whether every relevant document has a label, so that the others are known to be not relevant",
    )
    labelled_share: float | None = Field(
        None,
        gt=0,
        le=1,
        description="share of the relevant documents that have a label, where it is known from elsewhere, 0 to 1; "
        "it turns the leak rate into a share of false negatives",
    )
    siblings: bool = Field(
        False, description="whether documents with the same parent as a positive are relatives in the hierarchy"
    )
    rank_bands: tuple[int, ...] = Field(
        (1, 6, 11, 21, 51, 101), description="first rank of each band; the last band is open"
    )
    gap_bands: tuple[float, ...] = Field(
        (-0.1, 0.0, 0.05, 0.1, 0.2),
        description="bounds between bands of (p − s)/|p|, the distance of a score s below the positive's p; both ends are open",
    )

    @model_validator(mode="after")
    def _bands_rise(self) -> Self:
        for name, bounds in (("rank_bands", self.rank_bands), ("gap_bands", self.gap_bands)):
            if list(bounds) != sorted(set(bounds)):
                raise ConfigError("the bounds of bands must rise", where=f"estimate.{name}", got=list(bounds))
        if self.rank_bands and self.rank_bands[-1] >= 2**31:
            raise ConfigError("a rank has at most 31 bits", where="estimate.rank_bands", got=list(self.rank_bands))
        return self


SPEC = Spec(
    name="estimate",
    version=1,
    config=EstimateConfig,
    facts_of=("judged", "teacher_scores"),
    inputs=("corpus", "queries", "qrels", "corpus_vectors", "candidates", "positives", "teacher_scores", "judged"),
    tables=("estimates",),
)


class Band(NamedTuple):
    """Rows that are counted together: lower ≤ x < upper, None for an open end; the column is rank, gap or none of them."""

    column: str
    lower: float | None
    upper: float | None


def run(config: EstimateConfig, inputs: Inputs, context: Context) -> Iterator[Part]:
    """Yields `estimates`. Raises ArtefactError when its inputs do not belong together."""
    if not context.shards:
        return
    comparison, filters = rules_of(inputs["judged"])
    mined = Mined.read(inputs)
    found = trials(config, inputs, mined, comparison)
    tables = []
    with context.progress("estimate", len(found)) as bar:
        for trial in found:
            tables.append(_estimates(config, trial, filters, mined, context.round))
            bar.advance()
    hidden = next(trial for trial in found if trial.estimator == HIDDEN_POSITIVE)
    counters = {
        "hidden": _count(hidden) + hidden.unreached,
        "hidden.among_candidates": _count(hidden),
        "hidden.beyond_candidates": hidden.unreached,
        "relatives": sum(_count(trial) for trial in found if trial is not hidden),
    }
    if not counters["hidden"]:
        context.log(
            "no query has two different positives, so none can be hidden: the leak rate of false negatives is not known"
            + ("; the hierarchy of the corpus gives a proxy" if counters["relatives"] else "")
        )
    elif counters["hidden.among_candidates"] < FEW:
        context.log(
            f"only {counters['hidden.among_candidates']} hidden positives are among the candidates: the interval is wide"
        )
    facts = {
        "comparison": comparison,
        "filters": [rule.semantic() for rule in filters],
        "estimators": [trial.estimator for trial in found],
        "estimable": bool(counters["hidden.among_candidates"]),
        "false_negatives_by": _method(config),
    }
    yield Part(WHOLE, {"estimates": pa.concat_tables(tables)}, counters=counters, facts=facts)


def trials(config: EstimateConfig, inputs: Inputs, mined: Mined, comparison: str) -> list[Trial]:
    """What can be tried: hidden positives always, even when there are none, and the hierarchy where the corpus is one."""
    hidden = hiding.hide(mined, config.seed, config.share)
    found = [hiding.trial(mined, comparison, hidden, complete=config.complete)]
    parent = parents(inputs["corpus"])
    if np.any(parent >= 0):
        found.append(hierarchy_trial(mined, comparison, parent, siblings=config.siblings))
    return found


def _count(trial: Trial) -> int:
    return sum(int(np.count_nonzero(block.chosen)) for block in trial.relevant)


def _method(config: EstimateConfig) -> str:
    return "labelled_share" if config.labelled_share is not None else "graded judgements, where there are any"


def _bands(config: EstimateConfig) -> list[Band]:
    ranks: list[float | None] = [*config.rank_bands, None]
    gaps: list[float | None] = [None, *config.gap_bands, None]
    return [
        Band("overall", None, None),
        *(Band("rank", low, high) for low, high in pairwise(ranks)),
        *(Band("gap", low, high) for low, high in pairwise(gaps)),
    ]


def _within(rows: Rows, band: Band) -> np.ndarray | None:
    """The rows of a band: bool (n,), or None for all. A row whose gap is not known is in no band of gaps."""
    if band.column == "overall":
        return None
    values = rows.rank if band.column == "rank" else rows.gap
    inside = ~np.isnan(values) if band.column == "gap" else np.ones(len(values), bool)
    with np.errstate(invalid="ignore"):
        for bound, side in ((band.lower, np.greater_equal), (band.upper, np.less)):
            if bound is not None:
                inside &= side(values, bound)
    return inside


def _estimates(config: EstimateConfig, trial: Trial, filters: Sequence[Filter], mined: Mined, round: int) -> pa.Table:
    counted = tally(trial, filters)
    bands = [(band, _within(counted.relevant, band), _within(counted.others, band)) for band in _bands(config)]
    rows: list[dict[str, Any]] = []
    groups = [*(((place,), rule.name) for place, rule in enumerate(filters)), (tuple(range(len(filters))), ALL)]
    for places, name in groups:
        for band, relevant, others in bands:
            rate, loss = counted.rate(places, relevant), counted.loss(places, others)
            shares = _false_negatives(config, trial, rate, loss, mined) if band.column == "overall" else (None, None)
            rows.append(
                {
                    "round": round, "estimator": trial.estimator, "filter": name, "band": band.column,
                    "lower": band.lower, "upper": band.upper, **rate._asdict(), **loss._asdict(),
                    "false_negatives": shares[0], "false_negatives_at_most": shares[1],
                }
            )  # fmt: skip
    return _table(rows)


def _false_negatives(
    config: EstimateConfig, trial: Trial, rate: Rate, loss: Loss, mined: Mined
) -> tuple[float | None, float | None]:
    """The estimated share of false negatives among the kept, and its upper bound; None where they cannot be told.

    Of the hierarchy it is the share of relatives, counted and not estimated.
    """
    if trial.estimator != HIDDEN_POSITIVE:
        kept = rate.leaked + loss.negatives - loss.negatives_dropped
        return (rate.leaked / kept if kept else None), None
    if config.complete:
        return None, None
    if config.labelled_share is not None:
        return from_coverage(rate, loss, mined.positives_found, config.labelled_share), at_most(rate, loss)
    return rogan_gladen(rate, loss), at_most(rate, loss)


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    columns = []
    for field in ESTIMATES:
        values = [row[field.name] for row in rows]
        if pa.types.is_dictionary(field.type):
            names = sorted(set(values))
            columns.append(coded(np.array([names.index(value) for value in values], np.int32), names))
        else:
            columns.append(pa.array(values, field.type, from_pandas=True))
    return pa.Table.from_arrays(columns, schema=ESTIMATES)
