import math

import pytest

from stages.errors import ConfigError
from stages.samplers.softmax import Softmax
from tests.stages.samplers.distribution import alike, follows
from tests.stages.samplers.pool import pool, taken

ROWS = [(3, 0.9), (8, 0.7), (5, 0.7), (2, 0.2), (1, -0.5)]


def test_orders_come_as_often_as_the_softmax_says():
    given = alike(ROWS, 40_000)
    chosen = Softmax(temperature=0.5, top=4).choose(given, 3, 1)
    weights = {d: math.exp(s / 0.5) for d, s in ROWS[:4]}
    assert follows(given, chosen, 3, weights)
    assert not follows(given, chosen, 3, {**weights, 3: weights[3] * 1.1})


def test_only_the_top_takes_part_and_ties_at_its_end_go_by_row():
    given = pool([[(1, 0.1), (2, 0.9), (9, 0.5), (4, 0.5)]] * 30)
    for docs in taken(given, Softmax(top=2).choose(given, 2, 3)):
        assert set(docs) == {2, 4}


def test_a_low_temperature_takes_the_highest_scores_and_large_scores_do_not_overflow():
    given = pool([[(1, 900.0), (2, 2000.0), (3, -5000.0)]] * 5)
    assert taken(given, Softmax(temperature=0.01).choose(given, 3, 0)) == [[2, 1, 3]] * 5


def test_a_pair_with_fewer_gives_all_it_has():
    given = pool([[(1, 0.3)], [], [(5, 0.2), (6, 0.1)]])
    assert [set(docs) for docs in taken(given, Softmax().choose(given, 4, 0))] == [{1}, set(), {5, 6}]


def test_more_negatives_than_take_part_is_an_error():
    with pytest.raises(ConfigError, match="more negatives"):
        Softmax(top=3).choose(pool([ROWS]), 4, 0)
