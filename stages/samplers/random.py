"""A uniform choice without replacement.

Candidates are taken in the order of a hash of (seed, query, positive, document). So the choice for a pair does not change
with shards, with the order of the rows, or with what the other pairs have.
"""

from __future__ import annotations

import numpy as np

from stages.judging import Pool
from stages.registry import Member
from stages.samplers._choose import choose, random_keys


class Random(Member):
    """Takes candidates at random; the order of choice is random as well."""

    def choose(self, pool: Pool, negatives: int, seed: int) -> np.ndarray:
        return choose(pool, negatives, random_keys(pool, seed))
