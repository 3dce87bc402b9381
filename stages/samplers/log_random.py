"""A random choice that leans to the top of the ranking.

Lightning-IR's `log_random`. Weight: w = 1 / ln(1 + rank), with the rank from 1 among all that was found; drawn without
replacement. Rank 1 is 6.7 times as likely to come first as rank 100.
"""

from __future__ import annotations

import numpy as np

from stages.judging import Pool
from stages.registry import Member
from stages.samplers._choose import draw


class LogRandom(Member):
    """Draws with weights 1 / ln(1 + rank)."""

    def choose(self, pool: Pool, negatives: int, seed: int) -> np.ndarray:
        return draw(pool, negatives, -np.log(np.log1p(pool.rank.astype(np.float64))), seed)
