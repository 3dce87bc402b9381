from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.batches.by_source import BySource
from stages.errors import ConfigError
from tests.stages.batches.world import distinct, flat, pairs


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-1, 3), min_size=1, max_size=40), st.integers(2, 7))
def test_a_batch_has_one_source_and_nothing_is_lost(sources: list[int], size: int):
    rows = list(range(len(sources)))
    given = pairs(rows, rows, sources=[0, *sources[1:]])
    batches = BySource().epoch(given, size, 0, 1)
    assert sorted(flat(batches)) == rows
    assert all(len(set(given.source[batch])) == 1 and len(batch) <= size for batch in batches)
    counts = np.unique(given.source, return_counts=True)[1]
    assert len(batches) == sum(-(-count // size) for count in counts)


def test_batches_of_the_sources_are_mixed_and_others_in_each_epoch():
    given = pairs(list(range(40)), list(range(40)), sources=[0] * 20 + [1] * 20)
    orders = [[int(given.source[batch[0]]) for batch in BySource().epoch(given, 2, 0, epoch)] for epoch in (0, 1)]
    assert orders[0] != sorted(orders[0])
    assert orders[0] != orders[1]


def test_a_corpus_without_groups_is_refused():
    with pytest.raises(ConfigError, match="no positive has one"):
        BySource().epoch(distinct(4), 2, 0, 0)
