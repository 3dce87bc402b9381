"""The first by rank, whoever ranked them: BM25, another encoder, a fusion, a given run.

`top` goes by the score of the round's own model; where that model ranks alone, the two are the same.
"""

from __future__ import annotations

import numpy as np

from stages.judging import Pool
from stages.registry import Member
from stages.samplers._choose import choose


class First(Member):
    """Takes the candidates in the order of their ranks."""

    def choose(self, pool: Pool, negatives: int, seed: int) -> np.ndarray:
        return choose(pool, negatives, pool.rank, pool.doc_row)
