import math
from dataclasses import replace

import numpy as np
import pytest

from stages.samplers.simans import Simans
from tests.judging_world import inputs_of_sample, sampled, world
from tests.stages.samplers.distribution import alike, follows
from tests.stages.samplers.pool import pool, taken

ROWS = [(3, 0.9), (8, 0.7), (5, 0.65), (2, 0.2)]


def test_orders_come_as_often_as_the_weights_say():
    given = alike(ROWS, 40_000, positive=0.8)
    chosen = Simans(a=8.0, b=0.1).choose(given, 2, 5)
    weights = {d: math.exp(-8 * (s - 0.8 + 0.1) ** 2) for d, s in ROWS}
    assert follows(given, chosen, 2, weights)
    assert not follows(given, chosen, 2, {d: math.exp(-8 * (s - 0.8) ** 2) for d, s in ROWS})


def test_weights_below_the_smallest_number_still_rank():
    given = replace(pool([[(1, 0.0), (2, 50.0), (3, 99.0)]] * 4), positive_score=np.full(4, 100.0))
    assert taken(given, Simans(a=1000.0).choose(given, 3, 0)) == [[3, 2, 1]] * 4


@pytest.mark.parametrize("missing", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("a", [0.0, 0.5])
def test_a_positive_without_a_score_gets_nothing(missing, a):
    given = replace(pool([ROWS, ROWS]), positive_score=np.array([missing, 0.8]))
    first, second = taken(given, Simans(a=a).choose(given, 2, 0))
    assert first == []
    assert len(second) == 2


def test_the_score_is_that_of_the_pair_s_own_positive():
    found = {d: d / 20 for d in range(2, 18)}
    given = world(40, {0: {"positives": {30: 0.8, 31: 0.2, 32: None}, "found": found}})
    result = sampled(inputs_of_sample(given, filters=()), sampler=Simans(a=1e5), negatives=1)
    rows = {r["positive_row"]: r["negative_row"] for r in result.rows("triplets")}
    assert rows == {30: 16, 31: 4}
    assert result.rows("shortfall") == [{"query_row": 0, "positive_row": 32, "wanted": 1, "got": 0}]
