from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from stages.batches.hard import Hard, _Graph
from tests.stages.batches.world import distinct, flat, pairs


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 15), max_size=4), min_size=1, max_size=16), st.integers(2, 6))
def test_every_pair_comes_once_in_full_batches(mined: list[list[int]], size: int):
    rows = list(range(len(mined)))
    batches = Hard().epoch(pairs(rows, rows, mined), size, 3, 0)
    assert sorted(flat(batches)) == rows
    assert sorted(map(len, batches))[1:] == [size] * (len(batches) - 1)
    again = Hard().epoch(pairs(rows, rows, mined), size, 3, 0)
    assert [batch.tolist() for batch in again] == [batch.tolist() for batch in batches]


def test_pairs_that_are_hard_for_each_other_meet():
    """Four rings of four pairs: the second negative of each is the positive of the next in its ring."""
    mined = [[100 + pair, pair // 4 * 4 + (pair + 1) % 4] for pair in range(16)]
    given = pairs(list(range(16)), list(range(16)), mined)
    for epoch in range(5):
        batches = Hard().epoch(given, 4, 0, epoch)
        assert sorted(sorted(batch.tolist()) for batch in batches) == [list(range(s, s + 4)) for s in (0, 4, 8, 12)]


def test_what_is_mined_for_each_other_comes_before_what_is_mined_one_way():
    mined = [[1, 2], [5], [0], [0], [], []]
    graph = _Graph(pairs([*range(6)], [*range(6)], mined))
    assert [list(graph.around(pair)) for pair in range(6)] == [[2, 1, 3], [5, 0], [0], [0], [], [1]]


def test_equal_texts_are_one_positive():
    graph = _Graph(pairs([0, 1, 2, 3], [7, 7, 8, 9], [[], [], [7], []]))
    assert [list(graph.around(pair)) for pair in range(4)] == [[2], [2], [0, 1], []]


def test_without_negatives_it_is_a_random_order():
    orders = [flat(Hard().epoch(distinct(30), 8, 0, epoch)) for epoch in (0, 1)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == list(range(30))
