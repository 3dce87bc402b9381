"""Search in cells: a corpus part by part, and the best of all parts merged.

A merge takes the k best of what it is given by (-score, row). So it does not matter how the documents were divided, in which
order parts are merged, in how many steps, or whether one of them comes twice: the result is that of one search over all,
as long as every part gives its own k best, or all it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, cast, runtime_checkable

import numpy as np

from stages.search import Corpus, Hits, Joined, Parted, certified_search


class Best(NamedTuple):
    """The best documents of each query among some, by (-score, row); row -1 and score -inf where there are fewer."""

    rows: np.ndarray  # int (m, j), rows in corpus
    scores: np.ndarray  # float64 (m, j), on the grid of `stages.search`


@runtime_checkable
class Divisible(Joined, Parted, Protocol):
    """An exact searcher that can search some of its documents alone."""


def merge(parts: Sequence[Best], k: int) -> Best:
    """The k best of all parts, (m, k). A document that several parts give counts once; its score must be the same in each."""
    rows, scores = (np.concatenate(column, axis=1) for column in zip(*parts, strict=True))
    short = max(k - rows.shape[1], 0)
    rows = np.pad(rows, ((0, 0), (0, short)), constant_values=-1)
    scores = np.pad(scores, ((0, 0), (0, short)), constant_values=-np.inf)
    rows, scores = _ordered(rows, scores)
    twice = np.zeros(rows.shape, dtype=bool)
    twice[:, 1:] = (rows[:, 1:] == rows[:, :-1]) & (rows[:, 1:] >= 0)
    if twice.any():
        rows, scores = _ordered(np.where(twice, -1, rows), np.where(twice, -np.inf, scores))
    return Best(rows[:, :k], scores[:, :k])


def _ordered(rows: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((np.where(rows < 0, np.iinfo(rows.dtype).max, rows), -scores), axis=-1)
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def search(corpus: Corpus, queries: np.ndarray, depth: int, size: int) -> Hits:
    """The `depth` best documents of queries float32 (m, d), as `Corpus.search` gives them, `size` documents at a time.

    Memory for one cell's codes, where a search over all holds those of all. The corpus's searcher must be `Divisible`.
    """
    searcher = cast(Divisible, corpus.searcher)
    count = len(corpus.vectors)
    k = min(depth, count)
    best = Best(np.empty((len(queries), 0), dtype=np.int32), np.empty((len(queries), 0)))
    for start in range(0, count, size):
        stop = min(start + size, count)
        cell = certified_search(searcher.part(start, stop), queries, corpus.vectors[start:stop], k, True)
        best = merge([best, Best(cell.rows + np.int32(start), cell.scores)], k)
    return Hits(best.rows, best.scores, {"deepened": 0, "missing": 0})
