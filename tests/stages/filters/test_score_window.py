import math

import numpy as np

from stages.filters.score_window import ScoreWindow
from tests.stages.filters.view import view


def test_both_ends_belong_to_the_window():
    scores = [math.nextafter(0.2, 0), 0.2, 0.7, math.nextafter(0.7, 1)]
    labels = ScoreWindow(floor=0.2, cap=0.7).label(view(scores))
    assert labels.drop.tolist() == [True, False, False, True]
    assert labels.limit.tolist() == [0.2, 0.7, 0.7, 0.7]
    np.testing.assert_array_equal(labels.value, scores)


def test_one_bound_is_enough():
    assert ScoreWindow(cap=0.7).label(view([-5.0, 0.8])).drop.tolist() == [False, True]
    floor = ScoreWindow(floor=-0.5).label(view([-0.6, 9.0]))
    assert floor.drop.tolist() == [True, False]
    assert floor.limit.tolist() == [-0.5, -0.5]


def test_a_score_that_is_not_finite_is_dropped():
    assert ScoreWindow(cap=0.7).label(view([math.nan, -math.inf, math.inf])).drop.all()
    assert ScoreWindow(floor=0.7).label(view([math.nan, -math.inf, math.inf])).drop.all()
