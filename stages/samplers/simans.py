"""Ambiguous negatives: those whose score lies near the positive's are the likeliest.

SimANS (arXiv 2210.11773). Weight: w = exp(−a·(s − p + b)²), with p the score of the pair's own positive; drawn
without replacement. A positive without a score leaves the rule without a weight: its pair gets nothing and is counted
as short.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from stages.judging import Pool
from stages.registry import Member
from stages.samplers._choose import draw


class Simans(Member):
    """Draws with weights exp(−a·(s − p + b)²)."""

    a: float = Field(
        0.5,
        ge=0,
        allow_inf_nan=False,
        description="how sharply the weight falls, in 1 / score²; 0 is uniform. The default suits inner products of tens; "
        "cosines need about a hundred or more",
    )
    b: float = Field(
        0.0,
        allow_inf_nan=False,
        description="how far below the positive the peak lies, in units of the score; more is safer and easier",
    )

    def choose(self, pool: Pool, negatives: int, seed: int) -> np.ndarray:
        distance = pool.score - pool.positive_score[pool.pair] + self.b
        with np.errstate(invalid="ignore"):  # 0 · ∞, which is no weight
            log_weight = -self.a * distance**2
        return draw(pool, negatives, log_weight, seed)
