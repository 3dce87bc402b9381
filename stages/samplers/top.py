"""The hardest negatives: the highest scores first, equal scores by row."""

from __future__ import annotations

import numpy as np

from stages.judging import Pool
from stages.registry import Member
from stages.samplers._choose import choose


class Top(Member):
    """Takes the candidates with the highest scores; one whose score is not a number comes last."""

    def choose(self, pool: Pool, negatives: int, seed: int) -> np.ndarray:
        return choose(pool, negatives, -pool.score, pool.doc_row)
