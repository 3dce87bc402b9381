"""Both margins: their limits to the last bit, their sign, and what cannot be computed."""

import math

import numpy as np
import pytest

from stages.filters.absolute_margin import AbsoluteMargin
from stages.filters.relative_margin import RelativeMargin
from tests.stages.filters.view import view


@pytest.mark.parametrize("p", [0.9, 0.7, 1e-9, 0.0, -0.3, -0.9, 31.7])
@pytest.mark.parametrize("margin", [-0.1, -0.05, 0.0, 0.05, 0.1, 0.3])
@pytest.mark.parametrize(
    ("rule", "limit"), [(AbsoluteMargin, lambda p, m: p - m), (RelativeMargin, lambda p, m: p - abs(p) * m)]
)
def test_the_limit_passes_and_the_next_number_above_does_not(rule, limit, p, margin):
    at = limit(p, margin)
    labels = rule(margin=margin).label(view([math.nextafter(at, -math.inf), at, math.nextafter(at, math.inf)], p))
    assert labels.drop.tolist() == [False, False, True]
    assert labels.limit.tolist() == [at] * 3
    assert at <= p if margin >= 0 else at > p or p == at == 0


def test_a_relative_margin_is_95_percent_of_a_positive_above_0():
    s = np.linspace(0, 1, 1001) + 0.0003
    dropped = RelativeMargin(margin=0.05).label(view(s, 0.8)).drop
    np.testing.assert_array_equal(dropped, s > 0.95 * 0.8)


@pytest.mark.parametrize("rule", [AbsoluteMargin(), RelativeMargin()])
def test_what_cannot_be_computed_is_dropped(rule):
    inf, nan = math.inf, math.nan
    assert rule.label(view([0.1, nan, -inf, inf, nan], [nan, 0.9, 0.9, 0.9, nan])).drop.all()


def test_the_threshold_per_positive_is_a_relative_margin_but_for_equality():
    """s < .95 p (p > 0) and s ≤ p − .05 |p| part only where s lies within rounding of .95 p."""
    scores, positives = (each.ravel() for each in np.meshgrid(np.linspace(-1, 1, 201), np.linspace(0.005, 1, 200)))
    kept = ~RelativeMargin(margin=0.05).label(view(scores, positives)).drop
    apart = np.abs(scores - 0.95 * positives) > 1e-12
    assert (kept == (scores < 0.95 * positives))[apart].all()
    assert not RelativeMargin(margin=0.5).label(view([0.25], 0.5)).drop[0]
