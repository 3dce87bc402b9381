from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.batches.random import Random
from stages.batches.unique import Unique
from stages.examples import rotated
from stages.training.plan import Plan
from tests.stages.batches.world import distinct, pairs


class Growing:
    """One batch in the first epoch, two in the second and so on."""

    def epoch(self, pairs: object, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
        return [np.array([epoch, place]) for place in range(epoch + 1)]


def test_epochs_may_differ_in_length():
    plan = Plan(Growing(), distinct(5), 2, 0)
    assert [plan.batch(number)[1].tolist() for number in (5, 0, 2, 1, 3)] == [[2, 2], [0, 0], [1, 1], [1, 0], [2, 0]]
    assert [plan.epoch_of(number) for number in range(7)] == [0, 1, 1, 2, 2, 2, 3]
    assert [plan.position(batches) for batches in (1, 2, 3, 4, 6)] == [1.0, 1.5, 2.0, 2 + 1 / 3, 3.0]
    assert [plan.length(epochs) for epochs in (0.1, 1, 1.5, 1.6, 3, 3.01)] == [1, 1, 2, 3, 6, 7]
    assert plan.length(10**9, most=4) >= 4
    assert plan.share(6) == 3


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(2, 9), st.floats(0.01, 5))
def test_epochs_of_one_length_are_counted_as_ever(rows: int, size: int, epochs: float):
    plan = Plan(Random(), distinct(rows), size, 0)
    each = math.ceil(rows / size)
    assert plan.length(epochs) == math.ceil(epochs * each)
    assert plan.share(plan.length(epochs)) == math.ceil(epochs * each) / each


def test_a_plan_that_is_asked_late_says_the_same_as_one_that_was_read_through():
    given = pairs([0, 0, 1, 2, 3, 3, 3], [0, 1, 1, 2, 3, 4, 5])
    read = Plan(Unique(), given, 3, 1)
    through = [read.batch(number)[1].tolist() for number in range(12)]
    late = Plan(Unique(), given, 3, 1)
    assert late.batch(11)[1].tolist() == through[11]
    assert late.batch(2)[1].tolist() == through[2]


POOLS = [[10, 11, 12, 13, 14], [20, 21], [], [30], [40, 41, 42]]


def turns(negatives: int, seed: int, epochs: int) -> list[list[list[int]]]:
    pool = pairs(list(range(5)), list(range(5)), POOLS).mined
    found = []
    for epoch in range(epochs):
        taken = rotated(pool, negatives, seed, epoch)
        found.append([taken.negatives_of(np.array([i])).tolist() for i in range(5)])
    return found


@pytest.mark.parametrize("negatives", [1, 2, 3])
def test_each_negative_has_its_turn_before_one_comes_again(negatives: int):
    found = turns(negatives, 0, 30)
    for owner, pool in enumerate(POOLS):
        stream = [negative for epoch in found for negative in epoch[owner]]
        assert all(len(epoch[owner]) == min(negatives, len(pool)) for epoch in found)
        if len(pool) > negatives:
            for start in range(0, len(stream) - len(pool), len(pool)):
                assert sorted(stream[start : start + len(pool)]) == pool
        else:
            assert all(sorted(epoch[owner]) == pool for epoch in found)


def test_turns_hang_on_seed_and_epoch_alone():
    assert turns(2, 0, 3)[2] == turns(2, 0, 5)[2]
    assert turns(2, 0, 3) != turns(2, 1, 3)


def test_a_plan_takes_the_turns_of_its_epoch():
    given = pairs(list(range(5)), list(range(5)), POOLS)
    whole = type(given)(given.mined, given.mined, given.query_text, given.document_text, given.source)
    plan = Plan(Random(), whole, 5, 0, negatives=2)
    for epoch in range(3):
        examples, _ = plan.batch(epoch)
        assert [examples.negatives_of(np.array([i])).tolist() for i in range(5)] == turns(2, 0, 3)[epoch]
