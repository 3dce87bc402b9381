"""Intervals and the share of false negatives, against figures worked out by hand."""

import math

import numpy as np
import pytest

from stages.leakage import Loss, Rate, at_most, cluster_interval, from_coverage, rogan_gladen, wilson


def test_wilson_is_the_published_interval():
    # Newcombe, Statistics in Medicine 1998, table I: 81/263, 15/148, 0/20, 1/29
    for hits, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(hits / n, n) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_one_row_a_cluster_is_wilson():
    hits = np.arange(40) % 4 == 0
    assert cluster_interval(hits, np.arange(40)) == wilson(0.25, 40)


def test_rows_that_repeat_their_cluster_count_once():
    hits = np.repeat(np.arange(40) % 4 == 0, 5)
    low, high = cluster_interval(hits, np.repeat(np.arange(40), 5))
    once = wilson(0.25, 40)
    assert (low, high) == (pytest.approx(once[0], abs=0.003), pytest.approx(once[1], abs=0.003))
    assert cluster_interval(np.zeros(200, bool), np.repeat(np.arange(40), 5)) == wilson(0, 40)


def test_the_shares_of_false_negatives_by_hand():
    rate = Rate(10, 100, 20, 0.2, 0.15, 0.25)
    loss = Loss(1000, 400, 100, 30)
    # d = .4, upper end of L = .25: π ≤ .4/.75, kept .6
    assert at_most(rate, loss) == pytest.approx(0.4 / 0.75 * 0.25 / 0.6)
    # π = (.4 − .3)/(1 − .2 − .3) = .2
    assert rogan_gladen(rate, loss) == pytest.approx(0.2 * 0.2 / 0.6)
    # 300 labelled documents found, half of what is relevant has a label: 300 without, 60 of them kept, of 600
    assert from_coverage(rate, loss, 300, 0.5) == pytest.approx(0.1)
    nothing = Rate(0, 0, 0, math.nan, math.nan, math.nan)
    for value in (at_most(nothing, loss), rogan_gladen(nothing, loss), from_coverage(nothing, loss, 300, 0.5)):
        assert math.isnan(value)
    assert math.isnan(rogan_gladen(rate, Loss(1000, 400, 100, 90)))  # the filters do not tell the two apart


def test_the_identity_holds_in_a_world_where_everything_is_known():
    # 1000 unjudged: 200 relevant of which 10% are kept, 800 not relevant of which 40% are thrown away
    rate, loss = Rate(9, 50, 5, 0.1, 0.05, 0.2), Loss(1000, 180 + 320, 100, 40)
    share = 20 / 500
    assert rogan_gladen(rate, loss) == pytest.approx(share)
    assert at_most(rate, loss) >= share
