import numpy as np

from stages.filters.rank_window import RankWindow
from tests.stages.filters.view import view


def test_the_window_10_to_210_from_0_is_11_to_210_from_1():
    found = view([0.1] * 300)
    kept = found.rank[~RankWindow(min=11, max=210).label(found).drop]
    np.testing.assert_array_equal(kept, np.arange(1, 301)[10:210])


def test_shift_by_10_starts_at_rank_11():
    found = view([0.1] * 30)
    np.testing.assert_array_equal(found.rank[~RankWindow(min=11).label(found).drop], np.arange(11, 31))


def test_evidence_is_the_bound_that_a_rank_breaks():
    labels = RankWindow(min=2, max=3).label(view([0.1] * 4))
    assert labels.drop.tolist() == [True, False, False, True]
    assert labels.value.tolist() == [1, 2, 3, 4]
    assert labels.limit.tolist() == [2, 3, 3, 3]
    assert RankWindow(min=2).label(view([0.1] * 3)).limit.tolist() == [2, 2, 2]
