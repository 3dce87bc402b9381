"""Inner products in float64 that are the same to the bit in whatever block they are computed, and how far float32 ones may be off."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

GRID = 2.0**-40
"""Scores are rounded to multiples of this, about 1e-12. Scores that are equal on the grid are ties, which rows break.

Float64 scores of two equal vectors are equal anyway. The grid makes ties also of scores that differ by float64 rounding
alone, as those of two vectors that are equal up to the order of their values.
"""
_PAIRS = 512  # rows of float64 at a time: they stay in the cache


def score_pairs(left: np.ndarray, right: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Inner products of left[i] and right[j], float32 vectors, as float64 (n,) on the grid.

    Products of float32 values are exact in float64. Each row is summed by itself, in an order that hangs on d alone, so a
    pair's score is the same to the bit in whatever block it is computed.
    """
    if len(j) and not 0 <= j.min() <= j.max() < len(right):
        raise IndexError(f"rows {j.min()} to {j.max()} of {len(right)}")
    scores = np.empty(len(i), dtype=np.float64)
    documents = np.empty((min(_PAIRS, len(i)), right.shape[1]), dtype=np.float32)
    wide = np.empty(documents.shape)
    for start, stop, alone in _runs(i):
        block = wide[: stop - start]
        block[:] = right.take(j[start:stop], axis=0, out=documents[: stop - start], mode="clip")
        if alone:
            np.einsum("nd,d->n", block, left[i[start]].astype(np.float64), out=scores[start:stop])
        else:
            np.einsum("nd,nd->n", block, left[i[start:stop]].astype(np.float64), out=scores[start:stop])
    return np.rint(scores / GRID) * GRID + 0.0  # which makes -0.0 a plain 0


def _runs(i: np.ndarray) -> Iterator[tuple[int, int, bool]]:
    """Pieces of at most `_PAIRS`, of one query each where queries have many pairs, which saves copies of its vector."""
    ends = np.append(np.flatnonzero(np.diff(i)) + 1, len(i))
    alone = len(ends) * 16 < len(i) or len(ends) == 1
    start = 0
    for end in ends.tolist() if alone else [len(i)]:
        for low in range(start, end, _PAIRS):
            yield low, min(low + _PAIRS, end), alone
        start = end


def error_bound(queries: np.ndarray, longest_document: float) -> np.ndarray:
    """How far a float32 inner product with a document may be from the exact one: float64 (m,) for queries (m, d).

    The fraction is γ_d = du / (1 - du) with u = 2^-24, of |q|·|d| summed over the values, which by Cauchy and Schwarz is at
    most the product of the lengths. It holds for any order of summation, fused or not (Higham, Accuracy and Stability of
    Numerical Algorithms, 2nd ed., 3.1 and 3.5). One step of the grid covers the rounding of the float64 score.
    """
    d = queries.shape[1]
    return np.asarray(d * 2.0**-24 / (1 - d * 2.0**-24) * euclidean(queries) * longest_document + 2 * GRID)


def longest(vectors: np.ndarray) -> float:
    """The largest Euclidean length among float32 vectors (n, d), in float64; 0 for none."""
    return max((float(euclidean(vectors[i : i + 8192]).max()) for i in range(0, len(vectors), 8192)), default=0.0)


def euclidean(vectors: np.ndarray) -> np.ndarray:
    """Lengths in float64: (n,) of float32 (n, d)."""
    squares = np.empty(len(vectors))
    for start in range(0, len(vectors), _PAIRS):
        block = vectors[start : start + _PAIRS].astype(np.float64)
        np.einsum("nd,nd->n", block, block, out=squares[start : start + _PAIRS])
    return np.sqrt(squares)
