"""Keeps candidates that would be unlikely as positives: by the share of all positives that score no higher.

u(x) is the empirical distribution of a teacher's scores of all positives that were mined for: the share of them with a
score ≤ x. It turns the scores of any teacher into shares from 0 to 1. Evidence: value is u of the candidate's score,
limit is max(beta · u(p), floor) with p the teacher's score of the positive. Candidates with u ≥ .90 that are also among
the highest half percent, or come to 95% of their positive's score, can be promoted.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from stages.filters._score import at_most
from stages.filters._teacher import OfTeacher
from stages.judging import Candidates, Labels


class Ecdf(OfTeacher):
    """Keeps u(t) ≤ max(beta · u(p), floor), where t is the teacher's score and p that of the positive."""

    beta: float = Field(
        0.01,
        ge=0,
        le=1,
        description="share of the positive's u that a candidate may reach; less drops more of both kinds",
    )
    floor: float = Field(
        0.005,
        ge=0,
        le=1,
        description="u that passes whatever the positive has, 0.005 is half a percent; more keeps more",
    )
    promote_above: float = Field(
        0.9, ge=0, le=1, description="u from which a dropped candidate can be a positive where judge.promote is on"
    )
    promote_always: float = Field(
        0.995, ge=0, le=1, description="u from which it is one, whatever its own positive has"
    )
    promote_share: float = Field(
        0.95, ge=0, allow_inf_nan=False, description="share of its positive's score from which it is one"
    )

    def label(self, candidates: Candidates) -> Labels:
        taught = self.taught(candidates)[1]
        curve = taught.curve()
        held = share(curve, taught.positive)
        value = share(curve, taught.score)
        found = at_most(value, np.where(np.isnan(held), np.nan, np.maximum(self.beta * held, self.floor)))
        return self.labels(~found.drop, taught.score, value, found.limit)

    def promotes(self, candidates: Candidates) -> tuple[str, np.ndarray]:
        title, taught = self.taught(candidates)
        u = share(taught.curve(), taught.score)
        p = taught.positive
        near = taught.score >= p - np.abs(p) * (1 - self.promote_share)  # false where p is NaN
        return title, (u >= self.promote_above) & ((u >= self.promote_always) | near)


def share(curve: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The share of `curve` (p,), ascending, that is ≤ each of `scores` (n,): float64 (n,), NaN where it is not known."""
    if not len(curve):
        return np.full(len(scores), np.nan)
    below = np.searchsorted(curve, scores, side="right") / len(curve)
    return np.where(np.isnan(scores), np.nan, below)
