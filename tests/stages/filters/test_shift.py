from stages.filters.rank_window import RankWindow
from stages.filters.shift import Shift
from tests.stages.filters.view import view


def test_the_first_ten_ranks_are_skipped_by_default():
    labels = Shift().label(view([0.1] * 12))
    assert labels.drop.tolist() == [True] * 10 + [False] * 2
    assert labels.value.tolist() == list(range(1, 13))
    assert set(labels.limit) == {10.0}


def test_it_is_a_rank_window_that_begins_one_later():
    for n in (0, 1, 4, 20):
        one, other = Shift(n=n).label(view([0.1] * 9)), RankWindow(min=n + 1).label(view([0.1] * 9))
        assert one.drop.tolist() == other.drop.tolist()
