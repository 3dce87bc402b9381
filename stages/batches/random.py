"""Batches in random order."""

from __future__ import annotations

import numpy as np

from stages.examples import Pairs
from stages.registry import Member


class Random(Member):
    """Every batch is full but the last. Texts may repeat in a batch; what is known to be relevant is masked all the same."""

    def epoch(self, pairs: Pairs, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
        """The pairs in an order that is drawn from seed and epoch, cut."""
        order = np.random.default_rng([seed, epoch]).permutation(len(pairs))
        return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
