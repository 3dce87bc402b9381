"""How often each order of choice comes, against what the weights say."""

from itertools import permutations

import numpy as np
from scipy.stats import chi2

from stages.judging import Pool


def alike(rows: list[tuple[int, float]], pairs: int, positive: float = 1.0) -> Pool:
    """Many pairs with the same candidates (doc, score), ranked by score; only the positive's row differs."""
    n = len(rows)
    ordered = sorted(rows, key=lambda r: (-r[1], r[0]))
    return Pool(
        np.zeros(pairs, np.int32),
        np.arange(pairs, dtype=np.int32),
        np.full(pairs, positive),
        np.arange(pairs) * n,
        np.full(pairs, n),
        np.repeat(np.arange(pairs), n),
        np.tile(np.array([d for d, _ in ordered], np.int32), pairs),
        np.tile(np.arange(1, n + 1, dtype=np.int32), pairs),
        np.tile(np.array([s for _, s in ordered], np.float64), pairs),
    )


def follows(given: Pool, chosen: np.ndarray, negatives: int, weights: dict[int, float]) -> bool:
    """Whether ordered choices come as often as draws one by one without replacement say: chi-square at one in 10⁵."""
    drawn = given.doc_row[chosen].reshape(-1, negatives)
    expected = {}
    for order in permutations(weights, negatives):
        left, probability = sum(weights.values()), 1.0
        for doc in order:
            probability *= weights[doc] / left
            left -= weights[doc]
        expected[order] = probability * len(drawn)
    rows, found = np.unique(drawn, axis=0, return_counts=True)
    counts = {tuple(row): count for row, count in zip(rows.tolist(), found, strict=True)}
    assert set(counts) <= {order for order, each in expected.items() if each > 0}
    cells = [(counts.get(order, 0), each) for order, each in expected.items() if each > 0]
    assert min(each for _, each in cells) > 5, "too few pairs for a chi-square test"
    statistic = sum((count - each) ** 2 / each for count, each in cells)
    return bool(statistic < chi2.isf(1e-5, len(cells) - 1))
