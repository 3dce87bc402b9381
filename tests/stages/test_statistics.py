from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from stages import statistics
from stages.statistics import bootstrap_interval, crossed_interval, randomisation_test


def test_the_interval_agrees_with_a_plain_bootstrap() -> None:
    values = np.random.default_rng(5).random((40, 2))
    low, high = bootstrap_interval(values, 500, seed=3)
    generator = np.random.default_rng(3)
    means = np.array([values[generator.integers(0, 40, size=40)].mean(axis=0) for _ in range(500)])
    np.testing.assert_allclose(low, np.quantile(means, 0.025, axis=0), rtol=1e-12)
    np.testing.assert_allclose(high, np.quantile(means, 0.975, axis=0), rtol=1e-12)


def test_the_interval_has_the_width_that_theory_gives() -> None:
    values = np.random.default_rng(1).normal(size=(2000, 1))
    low, high = bootstrap_interval(values, 4000, seed=0)
    assert high[0] - low[0] == pytest.approx(2 * 1.96 * values.std() / np.sqrt(2000), rel=0.05)


def test_systems_with_equal_seeds_share_their_resamples() -> None:
    values = np.random.default_rng(2).random((30, 1))
    low, high = bootstrap_interval(values, 300, seed=9)
    shifted_low, shifted_high = bootstrap_interval(values + 0.25, 300, seed=9)
    np.testing.assert_allclose(shifted_low - low, 0.25)
    np.testing.assert_allclose(shifted_high - high, 0.25)


def test_one_query_and_equal_values_have_no_width() -> None:
    for values in (np.array([[0.4]]), np.full((7, 1), 0.4)):
        low, high = bootstrap_interval(values, 200, seed=0)
        np.testing.assert_allclose([low[0], high[0]], 0.4)


def test_the_p_value_comes_near_that_of_all_sign_patterns() -> None:
    differences = np.array([0.3, 0.1, -0.05, 0.2, 0.0, 0.15, -0.1, 0.25, 0.05, 0.1])
    patterns = np.array(list(product([-1.0, 1.0], repeat=10)))
    exact = np.mean(np.abs(patterns @ differences) >= abs(differences.sum()) - 1e-12)
    p = randomisation_test(differences[:, None], 40_000, seed=0)
    assert p[0] == pytest.approx(exact, abs=0.005)


def test_the_p_value_of_no_difference_is_one_and_never_zero() -> None:
    p = randomisation_test(np.stack([np.zeros(50), np.ones(50)], axis=1), 999, seed=0)
    assert p.tolist() == [1.0, 1 / 1000]


def test_the_p_value_is_two_sided_and_blind_to_rounding() -> None:
    differences = np.random.default_rng(4).choice([0.1, -0.1, 0.3, -0.2], size=(60, 1))
    p = randomisation_test(differences, 2000, seed=1)
    assert randomisation_test(-differences, 2000, seed=1) == p
    assert randomisation_test(differences[::-1] * 3, 2000, seed=1) == pytest.approx(p, abs=0.05)


def test_blocks_only_bound_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(6).normal(size=(64, 3))
    whole = bootstrap_interval(differences, 200, seed=0)
    monkeypatch.setattr(statistics, "_CELLS", 640)
    np.testing.assert_allclose(bootstrap_interval(differences, 200, seed=0), whole, rtol=1e-12)


def test_the_crossed_interval_agrees_with_a_plain_resampling_of_runs_and_queries() -> None:
    values = np.random.default_rng(5).random((3, 40, 2))
    low, high = crossed_interval(values, 500, seed=3)
    generator = np.random.default_rng(3)
    runs = generator.integers(0, 3, size=(500, 3))
    means = np.array([values[drawn][:, generator.integers(0, 40, size=40)].mean(axis=(0, 1)) for drawn in runs])
    np.testing.assert_allclose(low, np.quantile(means, 0.025, axis=0), rtol=1e-12)
    np.testing.assert_allclose(high, np.quantile(means, 0.975, axis=0), rtol=1e-12)


def test_the_crossed_interval_holds_the_spread_over_runs() -> None:
    """Runs that differ by a constant widen it; queries alone would give an interval of no width."""
    values = np.zeros((4, 50, 1)) + np.array([0.1, 0.2, 0.3, 0.4])[:, None, None]
    low, high = crossed_interval(values, 4000, seed=0)
    exact = np.array([np.mean(drawn) for drawn in product([0.1, 0.2, 0.3, 0.4], repeat=4)])
    np.testing.assert_allclose([low[0], high[0]], np.quantile(exact, [0.025, 0.975]), atol=0.026)
    alone_low, alone_high = bootstrap_interval(values.mean(axis=0), 4000, seed=0)
    np.testing.assert_allclose([alone_low[0], alone_high[0]], 0.25)


def test_blocks_only_bound_memory_of_the_crossed_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(6).normal(size=(3, 64, 2))
    whole = crossed_interval(values, 200, seed=0)
    monkeypatch.setattr(statistics, "_CELLS", 640)
    np.testing.assert_allclose(crossed_interval(values, 200, seed=0), whole, rtol=1e-12)
