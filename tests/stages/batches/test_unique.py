from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from stages.batches.random import Random
from stages.batches.unique import Unique
from tests.stages.batches.world import distinct, flat, pairs

TEXTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60)


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.integers(2, 9), st.integers(0, 3))
def test_no_text_comes_twice_and_nothing_is_lost(texts: list[tuple[int, int]], size: int, epoch: int):
    given = pairs([q for q, _ in texts], [p for _, p in texts])
    batches = Unique().epoch(given, size, 0, epoch)
    assert sorted(flat(batches)) == list(range(len(texts)))
    for batch in batches:
        assert 0 < len(batch) <= size
        assert len(set(given.query_text[batch])) == len(batch)
        assert len(set(given.positive_text[batch])) == len(batch)
    again = Unique().epoch(given, size, 0, epoch)
    assert [batch.tolist() for batch in again] == [batch.tolist() for batch in batches]


def test_where_no_text_repeats_it_is_the_random_order():
    found, expected = (rule.epoch(distinct(23), 5, 4, 2) for rule in (Unique(), Random()))
    assert [batch.tolist() for batch in found] == [batch.tolist() for batch in expected]


def test_one_text_for_all_makes_batches_of_one():
    batches = Unique().epoch(pairs([0, 1, 2, 3], [5, 5, 5, 5]), 4, 0, 0)
    assert sorted(batch.tolist() for batch in batches) == [[0], [1], [2], [3]]


def test_what_does_not_fit_makes_room_for_those_behind_it():
    """Half of the pairs share a positive: they are spread, and the batches before them are filled up by others."""
    batches = Unique().epoch(pairs(list(range(40)), [99] * 4 + list(range(36))), 10, 0, 0)
    assert [len(batch) for batch in batches] == [10, 10, 10, 10]
    assert [sum(pair < 4 for pair in batch.tolist()) for batch in batches] == [1, 1, 1, 1]
