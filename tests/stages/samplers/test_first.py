from dataclasses import replace

import numpy as np

from stages.samplers.first import First
from stages.samplers.top import Top
from tests.stages.samplers.pool import pool, taken


def test_the_order_of_the_ranks_decides_and_not_the_score():
    given = replace(pool([[(7, 0.5), (3, 0.9), (9, 0.7)], []]), rank=np.array([1, 5, 2], np.int32))
    assert taken(given, First().choose(given, 2, 0)) == [[7, 9], []]
    assert taken(given, Top().choose(given, 2, 0)) == [[3, 9], []]
