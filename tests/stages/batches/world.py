"""Pairs for the rules that make batches."""

from __future__ import annotations

import numpy as np

from stages.examples import Examples, Pairs


def pairs(
    queries: list[int], positives: list[int], mined: list[list[int]] | None = None, sources: list[int] | None = None
) -> Pairs:
    """One pair a place: the number of its query's text, its positive's row, which is also its text, and what was mined."""
    count = len(queries)
    mined = mined or [[] for _ in range(count)]
    examples = Examples(
        np.arange(count, dtype=np.int32),
        np.array(positives, dtype=np.int32),
        np.array([row for rows in mined for row in rows], dtype=np.int32),
        np.cumsum([0, *map(len, mined)], dtype=np.int64),
    )
    documents = np.arange(max([0, *positives, *(row for rows in mined for row in rows)]) + 1)
    return Pairs(examples.first(1), examples, np.array(queries), documents, np.array(sources or [-1] * count))


def distinct(count: int) -> Pairs:
    """Pairs that share nothing."""
    return pairs(list(range(count)), list(range(count)))


def flat(batches: list[np.ndarray]) -> list[int]:
    return [pair for batch in batches for pair in batch.tolist()]
