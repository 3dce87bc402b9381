"""Inner products in float64 that are the same to the bit in whatever block they are computed, and how far float32 ones may be off."""

from __future__ import annotations

import numpy as np

GRID = 2.0**-40
"""Scores are rounded to multiples of this, about 1e-12. Scores that are equal on the grid are ties, which rows break.

Float64 scores of two equal vectors are equal anyway. The grid makes ties also of scores that differ by float64 rounding
alone, as those of two vectors that are equal up to the order of their values.
"""
_ROWS = 512  # of float64 at a time: they stay in the cache
_LANES = 32  # sums side by side, as in stages.compiled.products
_FEW = 1 << 26  # products, a quarter of a second; loading what is compiled takes .65 s, and choosing a kernel .2 s


def score_pairs(left: np.ndarray, right: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Inner products of left[i] and right[j], float32 vectors, as float64 (n,) on the grid.

    Products of float32 values are exact in float64. Value t is added to sum t mod 32, and the sums by halves, so a pair's
    score is the same to the bit in whatever block, and on whatever processor, it is computed.
    """
    for name, rows, vectors in (("left", i, left), ("right", j, right)):
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(vectors):
            raise IndexError(f"{name}: rows {rows.min()} to {rows.max()} of {len(vectors)}")
    scores = np.empty(len(i), dtype=np.float64)
    if few(len(i), right.shape[1]):
        for start in range(0, len(i), _ROWS):
            part = slice(start, start + _ROWS)
            scores[part] = _inner_products(left[i[part]], right[j[part]])
        return scores
    from stages.compiled.products import inner_products

    inner_products(flat(left), flat(right), _places(i), _places(j), GRID, scores)
    return scores


def few(pairs: int, d: int) -> bool:
    """Whether numpy scores so many pairs in less time than the compiled loops take to be loaded."""
    return pairs * max(d, 2 * _LANES) <= _FEW


def _inner_products(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Of the rows of float32 (n, d) each, as `stages.compiled.products` computes them."""
    products = np.zeros((len(left), -(-left.shape[1] // _LANES) * _LANES))
    np.multiply(left, right, dtype=np.float64, out=products[:, : left.shape[1]])
    sums = np.zeros((len(left), _LANES))
    for start in range(0, products.shape[1], _LANES):
        sums += products[:, start : start + _LANES]
    while sums.shape[1] > 1:
        half = sums.shape[1] // 2
        sums = sums[:, :half] + sums[:, half:]
    return np.rint(sums[:, 0] / GRID) * GRID + 0.0  # which makes -0.0 a plain 0


def flat(vectors: np.ndarray) -> np.ndarray:
    """The same float32 vectors as compiled loops take them: one after the other in memory."""
    return np.require(vectors, np.float32, ["C", "A"])


def _places(rows: np.ndarray) -> np.ndarray:
    return np.require(rows, np.int64, ["C", "A"])


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
    for start in range(0, len(vectors), _ROWS):
        block = vectors[start : start + _ROWS].astype(np.float64)
        np.einsum("nd,nd->n", block, block, out=squares[start : start + _ROWS])
    return np.sqrt(squares)
