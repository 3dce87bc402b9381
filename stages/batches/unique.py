"""Batches in which no text comes twice."""

from __future__ import annotations

import numpy as np

from stages.examples import Pairs
from stages.registry import Member


class Unique(Member):
    """No two pairs of a batch share the text of their query or that of their positive.

    A pair that would repeat a text goes to a later batch. Where one text has more pairs than there are full batches, the
    last batches of an epoch are small, and an epoch has more of them.
    """

    def epoch(self, pairs: Pairs, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
        """Each pair of a random order goes to the first batch with room behind the last that has one of its texts."""
        order = np.random.default_rng([seed, epoch]).permutation(len(pairs))
        queries, positives = pairs.query_text.tolist(), pairs.positive_text.tolist()
        batches: list[list[int]] = []
        onward: list[int] = []  # of a full batch, a later one to look at; of others, themselves
        last_of_query: dict[int, int] = {}
        last_of_positive: dict[int, int] = {}
        for pair in order.tolist():
            query, positive = queries[pair], positives[pair]
            place = max(last_of_query.get(query, -1), last_of_positive.get(positive, -1)) + 1
            place = _room(onward, place)
            if place == len(batches):
                batches.append([])
                onward.append(place)
            batches[place].append(pair)
            last_of_query[query] = last_of_positive[positive] = place
            if len(batches[place]) == batch_size:
                onward[place] = place + 1
        return [np.array(batch) for batch in batches]


def _room(onward: list[int], place: int) -> int:
    """The first batch from `place` on that has room; what was passed on the way is made to point there."""
    found = place
    while found < len(onward) and onward[found] != found:
        found = onward[found]
    while place < found:
        onward[place], place = found, onward[place]
    return found
