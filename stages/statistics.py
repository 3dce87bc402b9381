"""Intervals and tests for means over queries. Equal seeds and equal numbers of queries give equal resamples: systems are paired."""

from __future__ import annotations

import numpy as np

LEVEL = 0.95
"""Share of the resampled means that an interval holds."""

_CELLS = 1 << 22
"""Random numbers held at a time; bounds memory at 32 MB."""


def bootstrap_interval(values: np.ndarray, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The percentile bootstrap interval of the mean over queries (Efron and Tibshirani 1993, chapter 13).

    values: float64 (n, m), n queries by m measures, n > 0. All measures share the resamples.
    Returns low (m,) and high (m,), the ends of the 95% interval.
    """
    n, m = values.shape
    generator = np.random.default_rng(seed)
    means = np.empty((resamples, m))
    for start, stop in _blocks(resamples, n):
        drawn = generator.integers(0, n, size=(stop - start, n))  # (b, n)
        drawn += n * np.arange(stop - start)[:, None]
        times = np.bincount(drawn.ravel(), minlength=(stop - start) * n).reshape(-1, n)  # (b, n), how often each query
        # einsum adds in one order whatever the threads; a matrix product need not.
        means[start:stop] = np.einsum("bn,nm->bm", times.astype(np.float64), values) / n
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def crossed_interval(values: np.ndarray, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The percentile interval of the mean over runs and queries, with both drawn anew: what another seed and other queries
    would have given (the pigeonhole bootstrap for crossed factors, Owen, Annals of Applied Statistics 2007).

    Each resample draws runs and, independently, queries, with replacement; a run has all the queries that were drawn.
    With one run it is `bootstrap_interval` on other draws: the spread over runs is then not in it.

    values: float64 (s, n, m), s runs by n queries by m measures, s and n > 0. All measures share the resamples.
    Returns low (m,) and high (m,), the ends of the 95% interval.
    """
    s, n, m = values.shape
    generator = np.random.default_rng(seed)
    means = np.empty((resamples, m))
    runs = _times(generator.integers(0, s, size=(resamples, s)), s)  # (resamples, s)
    for start, stop in _blocks(resamples, n):
        queries = _times(generator.integers(0, n, size=(stop - start, n)), n)
        by_run = np.stack([np.einsum("bn,nm->bm", queries, one) for one in values], axis=1)  # (b, s, m)
        means[start:stop] = np.einsum("bs,bsm->bm", runs[start:stop], by_run) / (s * n)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def _times(drawn: np.ndarray, n: int) -> np.ndarray:
    """How often each of n was drawn: int (b, any) to float64 (b, n)."""
    b = len(drawn)
    places = (drawn + n * np.arange(b)[:, None]).ravel()
    return np.bincount(places, minlength=b * n).reshape(b, n).astype(np.float64)


def randomisation_test(differences: np.ndarray, randomisations: int, seed: int) -> np.ndarray:
    """The two-sided paired randomisation test of a mean difference of zero (Smucker, Allan and Carterette, CIKM 2007).

    Under the null hypothesis the two systems' labels can be swapped query by query: each difference keeps or flips its
    sign. p = (c + 1) / (R + 1), where c of R random sign patterns give a mean at least as far from zero as the observed
    one (Phipson and Smyth 2010), so p is never zero.

    differences: float64 (n, m), n > 0. Returns p (m,).
    """
    n, m = differences.shape
    generator = np.random.default_rng(seed)
    total = differences.sum(axis=0)
    # Sums that are equal on paper differ in the last bits with the order of their terms.
    limit = np.abs(total) - 1e-10 * np.abs(differences).sum(axis=0)
    extreme = np.zeros(m, dtype=np.int64)
    for start, stop in _blocks(randomisations, n):
        flipped = generator.integers(0, 2, size=(stop - start, n), dtype=np.uint8).astype(np.float64)  # (b, n)
        sums = total - 2.0 * np.einsum("bn,nm->bm", flipped, differences)
        extreme += (np.abs(sums) >= limit).sum(axis=0)
    return (extreme + 1) / (randomisations + 1)


def _blocks(count: int, width: int) -> list[tuple[int, int]]:
    size = max(1, _CELLS // width)
    return [(start, min(start + size, count)) for start in range(0, count, size)]
