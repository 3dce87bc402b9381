"""Batches of one source each."""

from __future__ import annotations

import numpy as np

from stages.errors import ConfigError
from stages.examples import Pairs
from stages.registry import Member


class BySource(Member):
    """The positives of a batch have one group in the corpus, so that the source of a text does not give it away.

    Pairs whose positive has no group make batches of their own. Each group may end in a small batch.
    Nussbaum et al., "Nomic Embed: Training a Reproducible Long Context Text Embedder", 2024, section 3.2.
    """

    def epoch(self, pairs: Pairs, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
        """The pairs of each group in a random order, cut; then the batches in a random order. Raises ConfigError."""
        if (pairs.source < 0).all():
            raise ConfigError(
                "batches of one source need groups in the corpus, and no positive has one",
                where="train.batches", try_='a data set that gives groups, or batches.name = "random"',
            )  # fmt: skip
        generator = np.random.default_rng([seed, epoch])
        order = generator.permutation(len(pairs))
        order = order[np.argsort(pairs.source[order], kind="stable")]
        groups = np.split(order, np.flatnonzero(np.diff(pairs.source[order])) + 1)
        batches = [group[start : start + batch_size] for group in groups for start in range(0, len(group), batch_size)]
        return [batches[i] for i in generator.permutation(len(batches))]
