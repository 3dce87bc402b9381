"""Negatives of every difficulty: the candidates of a pair are cut into bands by score, and each band gives its share.

By descending score, equal scores by row, the candidate at place i of m is in band ⌊i·B / m⌋, so that bands are equally
large; band 0 is the hardest. B is `bands`, or the number of negatives where that is less, so that no band is left out.
Bands take turns, the hardest first, and each gives its candidates in a random order; one that is used up is skipped.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from stages.judging import Pool
from stages.registry import Member
from stages.samplers._choose import choose, place, random_keys


class Stratified(Member):
    """Spreads the choice over bands of score."""

    bands: int = Field(
        4,
        ge=1,
        description="bands of equally many candidates; 1 is a uniform choice, more spreads the scores more evenly",
    )

    def choose(self, pool: Pool, negatives: int, seed: int) -> np.ndarray:
        bands, counts = min(self.bands, negatives), pool.counts[pool.pair]
        band = place(pool, -pool.score, pool.doc_row) * bands // counts
        first = -(-band * counts // bands)  # the candidates in harder bands
        turn = place(pool, band, random_keys(pool, seed)) - first
        return choose(pool, negatives, turn, band)
