import math
from dataclasses import replace

import numpy as np

from stages.samplers.log_random import LogRandom
from tests.stages.samplers.distribution import alike, follows


def test_orders_come_as_often_as_the_inverse_logarithm_of_the_rank_says():
    given = alike([(d, -d) for d in range(4)], 40_000)
    chosen = LogRandom().choose(given, 2, 3)
    assert follows(given, chosen, 2, {d: 1 / math.log(2 + d) for d in range(4)})
    assert not follows(given, chosen, 2, dict.fromkeys(range(4), 1.0))


def test_the_rank_is_that_among_all_that_was_found():
    given = alike([(d, -d) for d in range(3)], 40_000)
    given = replace(given, rank=np.tile(np.array([1, 50, 1000], np.int32), 40_000))
    weights = {d: 1 / math.log(1 + rank) for d, rank in enumerate((1, 50, 1000))}
    assert follows(given, LogRandom().choose(given, 2, 3), 2, weights)
