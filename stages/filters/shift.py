"""Skips the top of the ranking.

"TopK shifted by N" of NV-Retriever (arXiv 2407.15831), N = 10: what stands highest is the likeliest to be relevant after
all. Ranks count from 1 over all documents that were found, positives included. `rank_window` with min = N + 1 is the same
rule. Evidence: value is the rank, limit is N.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from stages.judging import Candidates, Labels
from stages.registry import Member


class Shift(Member):
    """Keeps rank > n."""

    n: int = Field(
        10, ge=0, description="ranks skipped; more skips the likeliest false negatives and the hardest negatives"
    )

    def label(self, candidates: Candidates) -> Labels:
        rank = candidates.rank.astype(np.float64)
        return Labels(rank <= self.n, rank, np.full(len(rank), float(self.n)))
