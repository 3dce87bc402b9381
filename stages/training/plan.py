"""Which examples the batch of a number has, and with which negatives: a function of seed and number alone."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Protocol

import numpy as np

from stages.examples import Examples, Pairs, rotated


class Batches(Protocol):
    """A rule that puts the pairs of an epoch into batches."""

    def epoch(self, pairs: Pairs, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
        """The batches of an epoch in order, each of up to `batch_size` places of pairs; every pair is in one of them."""
        ...


class Plan:
    """The batches of a training by number, from 0, over one epoch after the other.

    How many batches an epoch has may differ from epoch to epoch. Nothing is remembered from a batch to the next, so that a
    run that was killed goes on at any number.
    """

    def __init__(
        self, batches: Batches, pairs: Pairs, batch_size: int, seed: int, negatives: int | None = None
    ) -> None:
        """`negatives` is how many of a pair's pool an epoch takes, by turns; None takes the whole pool in every epoch."""
        self.pairs, self._batches, self._size, self._seed, self._negatives = pairs, batches, batch_size, seed, negatives
        self._starts = [0]  # the number of the first batch of each epoch that was looked at, and of the one after
        self._batches_of = lru_cache(maxsize=2)(self._make_batches)
        self._examples_of = lru_cache(maxsize=2)(self._make_examples)

    def __reduce__(self) -> tuple[type[Plan], tuple[Batches, Pairs, int, int, int | None]]:
        """What it is made from, without what it has looked at: it goes to other processes."""
        return type(self), (self._batches, self.pairs, self._size, self._seed, self._negatives)

    def batch(self, number: int) -> tuple[Examples, np.ndarray]:
        """The examples with the negatives of the epoch, and which of them are in the batch: int64 (B,)."""
        epoch = self.epoch_of(number)
        return self._examples_of(epoch), self._batches_of(epoch)[number - self._starts[epoch]]

    def epoch_of(self, number: int) -> int:
        """The epoch that a batch belongs to, from 0."""
        while self._starts[-1] <= number:
            self._first(len(self._starts))
        return int(np.searchsorted(self._starts, number, side="right")) - 1

    def position(self, batches: int) -> float:
        """Epochs done after that many batches, at least one."""
        epoch = self.epoch_of(batches - 1)
        start, stop = self._starts[epoch], self._starts[epoch + 1]
        return epoch + (batches - start) / (stop - start)

    def length(self, epochs: float, most: float = math.inf) -> int:
        """Batches of that many epochs, or some number not below `most`; a part of an epoch is rounded up to a batch."""
        whole = math.ceil(epochs) - 1
        for epoch in range(whole):
            if self._first(epoch) >= most:
                return self._first(epoch)
        size = self._first(whole + 1) - self._first(whole)
        return self._first(whole) + math.ceil(epochs * size) - whole * size

    def share(self, batches: int) -> float:
        """Epochs done after that many batches, where all that were begun count as equally long."""
        if not batches:
            return 0.0
        begun = self.epoch_of(batches - 1) + 1
        return batches * begun / self._starts[begun]

    def _first(self, epoch: int) -> int:
        """The number of the first batch of an epoch."""
        while len(self._starts) <= epoch:
            self._starts.append(self._starts[-1] + len(self._batches_of(len(self._starts) - 1)))
        return self._starts[epoch]

    def _make_batches(self, epoch: int) -> list[np.ndarray]:
        """A batch has one direction: captions that look for pictures, or pictures that look for captions. Where both are
        together, each caption would stand against itself.
        """
        if self.pairs.shown is None:
            return self._batches.epoch(self.pairs, self._size, self._seed, epoch)
        batches: list[np.ndarray] = []
        for picture in (False, True):
            places = np.flatnonzero(self.pairs.shown == picture)
            found = self._batches.epoch(self.pairs.of(places), self._size, self._seed, epoch)
            batches += [places[batch] for batch in found]
        order = np.random.default_rng([self._seed, epoch, 3]).permutation(len(batches))
        return [batches[i] for i in order]

    def _make_examples(self, epoch: int) -> Examples:
        examples = self.pairs.examples
        return examples if self._negatives is None else rotated(examples, self._negatives, self._seed, epoch)
