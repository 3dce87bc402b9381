"""Keeps candidates that a cross-encoder calls not relevant, whatever the positive has.

RocketQA (arXiv 2010.08191): below .1 a negative, above .9 a positive, both in scores from 0 to 1. Evidence: value is the
teacher's score, limit the threshold. Candidates above `positive` can be promoted.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from stages.errors import ConfigError
from stages.filters._teacher import CROSS_ENCODERS, OfTeacher
from stages.judging import Candidates, Labels


class CrossEncoderThreshold(OfTeacher):
    """Keeps t < negative, where t is the teacher's score."""

    negative: float = Field(
        0.1,
        allow_inf_nan=False,
        description="score below which a candidate is a negative, in units of the teacher; less drops more of both kinds",
    )
    positive: float = Field(
        0.9,
        allow_inf_nan=False,
        description="score above which a dropped candidate is a positive where judge.promote is on; less promotes more, and worse",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.positive < self.negative:
            raise ConfigError(
                "a candidate would be a positive and a negative at once",
                where="filters.cross_encoder_threshold",
                got=f"negative = {self.negative}, positive = {self.positive}",
                try_="positive ≥ negative",
            )
        return self

    def label(self, candidates: Candidates) -> Labels:
        score = self.taught(candidates, CROSS_ENCODERS)[1].score
        return self.labels(score < self.negative, score, score, np.full(len(score), self.negative))

    def promotes(self, candidates: Candidates) -> tuple[str, np.ndarray]:
        title, taught = self.taught(candidates, CROSS_ENCODERS)
        return title, taught.score > self.positive
