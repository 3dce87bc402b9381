import math

from stages.samplers.top import Top
from tests.stages.samplers.pool import pool, taken


def test_the_highest_scores_come_first_and_ties_go_by_row():
    given = pool([[(7, 0.5), (3, 0.9), (9, 0.5), (4, 0.5)], [], [(1, -0.2), (2, -0.1)]])
    assert taken(given, Top().choose(given, 3, 0)) == [[3, 4, 7], [], [2, 1]]


def test_a_pool_in_order_and_one_out_of_order_give_the_same():
    rows = [(5, 0.9), (2, 0.7), (3, 0.7), (1, 0.1)]
    for given in (pool([rows, rows]), pool([rows[::-1], rows])):
        assert taken(given, Top().choose(given, 3, 0)) == [[5, 2, 3], [5, 2, 3]]


def test_a_score_that_is_not_a_number_comes_last():
    given = pool([[(1, math.nan), (2, -1.0), (3, 0.4)]])
    assert taken(given, Top().choose(given, 2, 0)) == [[3, 2]]


def test_an_empty_pool_gives_nothing():
    assert Top().choose(pool([]), 3, 0).tolist() == []
    assert Top().choose(pool([[], []]), 3, 0).tolist() == []
