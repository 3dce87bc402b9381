"""Keeps candidates that a cross-encoder puts below the positive by a margin.

The margins of NV-Retriever (arXiv 2407.15831) with the scores of a model that reads both texts; the positive's score is
that teacher's own. A share is one of |p|, so that it stays below a negative p. Evidence: value is the teacher's score,
limit is p − margin, or p − |p| · margin.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from stages.filters._score import at_most
from stages.filters._teacher import CROSS_ENCODERS, OfTeacher
from stages.judging import Candidates, Labels


class CrossEncoderMargin(OfTeacher):
    """Keeps t ≤ p − |p| · margin, or t ≤ p − margin, where t is the teacher's score and p that of the positive."""

    margin: float = Field(
        0.05,
        ge=0,
        allow_inf_nan=False,
        description="distance below the positive; more drops more false negatives and more hard negatives",
    )
    unit: Literal["share", "score"] = Field(
        "share",
        description="of what the margin is: a share of the positive's score, or units of the score (for logits)",
    )

    def label(self, candidates: Candidates) -> Labels:
        taught = self.taught(candidates, CROSS_ENCODERS)[1]
        positive = taught.positive
        found = at_most(taught.score, positive - self.margin * (np.abs(positive) if self.unit == "share" else 1.0))
        return self.labels(~found.drop, taught.score, found.value, found.limit)
