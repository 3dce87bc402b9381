"""Keeps candidates that stay below the positive by a fixed amount.

TopK-MarginPos of NV-Retriever (arXiv 2407.15831). Evidence: value is the candidate's score, limit is p − margin. Without
a positive whose score is known, every candidate is dropped and the limit is null.
"""

from __future__ import annotations

from pydantic import Field

from stages.filters._score import at_most
from stages.judging import Candidates, Labels
from stages.registry import Member


class AbsoluteMargin(Member):
    """Keeps s ≤ p − margin."""

    margin: float = Field(
        0.05,
        allow_inf_nan=False,
        description="distance below the positive, in units of the score; more drops more false negatives and more hard negatives. "
        "Below 0 candidates that far above the positive are kept",
    )

    def label(self, candidates: Candidates) -> Labels:
        return at_most(candidates.score, candidates.positive_score - self.margin)
