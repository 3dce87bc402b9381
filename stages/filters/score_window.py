"""Keeps a window of scores, whatever the positive has.

The cap is TopK-Abs of NV-Retriever (arXiv 2407.15831), .7 in the paper. Evidence: value is the score, limit the bound it
breaks; of a score inside, the cap, or the floor where there is no cap. A score that is not finite is dropped.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from stages.errors import ConfigError
from stages.judging import Candidates, Labels
from stages.registry import Member


class ScoreWindow(Member):
    """Keeps floor ≤ s ≤ cap."""

    floor: float | None = Field(
        None, allow_inf_nan=False, description="lowest score kept, in units of the score; more drops easy negatives"
    )
    cap: float | None = Field(
        None,
        allow_inf_nan=False,
        description="highest score kept, in units of the score; less drops more false negatives",
    )

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.floor is None and self.cap is None:
            raise ConfigError(
                "the score window has no bound", where="filters.score_window", try_="set floor, cap or both"
            )
        if self.floor is not None and self.cap is not None and self.cap < self.floor:
            raise ConfigError(
                "the score window is empty",
                where="filters.score_window",
                got=f"floor = {self.floor}, cap = {self.cap}",
                try_="cap ≥ floor",
            )
        return self

    def label(self, candidates: Candidates) -> Labels:
        score = candidates.score
        floor = -np.inf if self.floor is None else self.floor
        cap = np.inf if self.cap is None else self.cap
        low = score < floor
        passes = np.isfinite(score) & ~low & (score <= cap)
        return Labels(~passes, score, np.where(low | (self.cap is None), floor, cap))
