"""Keeps candidates that stay below the positive by a share of its score.

TopK-PercPos of NV-Retriever (arXiv 2407.15831) is s ≤ .95 p, which lets candidates above the positive pass where p < 0.
Taking the share of |p| is the same for p > 0 and stays below the positive for p < 0, while a margin below 0 lies above it
for both. Evidence: value is the candidate's
score, limit is p − |p| · margin. Without a positive whose score is known, every candidate is dropped and the limit is null.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from stages.filters._score import at_most
from stages.judging import Candidates, Labels
from stages.registry import Member


class RelativeMargin(Member):
    """Keeps s ≤ p − |p| · margin."""

    margin: float = Field(
        0.05,
        ge=-1,
        allow_inf_nan=False,
        description="share of the positive's score, 0.05 is 5%; more drops more false negatives and more hard negatives. Below 0 "
        "candidates that far above the positive are kept",
    )

    def label(self, candidates: Candidates) -> Labels:
        positive = candidates.positive_score
        return at_most(candidates.score, positive - np.abs(positive) * self.margin)
