"""Batches of pairs that are hard for each other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np

from stages.examples import Pairs
from stages.registry import Member


class Hard(Member):
    """Pairs meet in a batch when the positive of one was mined as a negative of the other, or of a pair between them.

    The in-batch negatives are then hard ones, which costs no further document. Every pair that the miner knows counts, also
    beyond the negatives that are trained on. What is left over fills the batches at random. Clusters of queries after
    Hofstätter et al., "Efficiently Teaching an Effective Dense Retriever with Balanced Topic Aware Sampling", 2021.
    """

    def epoch(self, pairs: Pairs, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
        """From a random pair breadth first along the mined negatives until the batch is full, mutual ones first."""
        generator = np.random.default_rng([seed, epoch])
        order = generator.permutation(len(pairs))
        graph = _Graph(pairs)
        free = np.ones(len(pairs), dtype=bool)
        batches: list[np.ndarray] = []
        batch: list[int] = []
        for first in order.tolist():
            queue = deque([first] if free[first] else [])
            while queue and len(batch) < batch_size:
                pair = queue.popleft()
                if free[pair]:
                    free[pair] = False
                    batch.append(pair)
                    queue.extend(other for other in graph.around(pair) if free[other])
            if len(batch) == batch_size:
                batches.append(np.array(batch))
                batch = []
        batches += [np.array(batch)] if batch else []
        return [batches[i] for i in generator.permutation(len(batches))]


class _Graph:
    """Which pairs have as their positive what was mined as a negative of which."""

    def __init__(self, pairs: Pairs) -> None:
        mined = pairs.mined
        owner = np.repeat(np.arange(len(pairs)), np.diff(mined.offsets))
        texts = pairs.document_text[mined.negatives]
        self._offsets, self._negative, self._positive = mined.offsets, texts, pairs.positive_text
        self._of_positive = _Groups(self._positive, np.arange(len(pairs)))
        self._of_negative = _Groups(texts, owner)

    def around(self, pair: int) -> Iterator[int]:
        """The pairs next to one: first those with a positive that was mined for it and the reverse, then either."""
        mined = self._negative[self._offsets[pair] : self._offsets[pair + 1]]
        ahead = dict.fromkeys(other for text in mined for other in self._of_positive[text])
        behind = dict.fromkeys(self._of_negative[self._positive[pair]])
        yield from (other for other in ahead if other in behind)
        yield from (other for other in ahead if other not in behind)
        yield from (other for other in behind if other not in ahead)


class _Groups:
    """The values that stand beside each key."""

    def __init__(self, keys: np.ndarray, values: np.ndarray) -> None:
        order = np.argsort(keys, kind="stable")
        self._keys, self._values = keys[order], values[order]

    def __getitem__(self, key: int) -> list[int]:
        start, stop = np.searchsorted(self._keys, [key, key + 1])
        found: list[int] = self._values[start:stop].tolist()
        return found
