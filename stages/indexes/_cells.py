"""Searches an inverted file for many queries at once: cell by cell, all queries that visit a cell together.

FAISS takes one query after the other and reads each visited list with one dot product a document. Here a list and its
queries meet in one matrix product. Cells are visited in rounds, nearest first: the k-th best score of the rounds before is
a query's threshold, and what lies below it is dropped before anything is sorted. Nothing is left out by that: what is
found is what FAISS finds with the same nprobe, up to the rounding of float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

_FIRST = 2
"""The first round visits cells that hold about this many times k documents; each further round doubles the cells."""
_ENTRIES = 1 << 22
"""Scores of a matrix product at most, 16 MB."""
_QUERIES = 4_096
"""Queries at a time, which bounds the memory for what is found."""


@dataclass(frozen=True)
class CellSearcher:
    """A FAISS IndexIVFFlat by inner product, or the documents `start` to `stop` of it, which are rows 0 and on then."""

    index: Any
    start: int = 0
    stop: int | None = None

    def part(self, start: int, stop: int) -> CellSearcher:
        """See `stages.search.Parted`."""
        return CellSearcher(self.index, self.start + start, self.start + stop)

    @cached_property
    def _cells(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Rows int64 (c,) and vectors float32 (c, d) of each list, as they lie in the index."""
        import faiss

        lists, found = self.index.invlists, []
        for cell in range(self.index.nlist):
            size = lists.list_size(cell)
            if not size:
                found.append((np.empty(0, np.int64), np.empty((0, self.index.d), np.float32)))
                continue
            codes = faiss.rev_swig_ptr(lists.get_codes(cell), size * lists.code_size)
            rows = faiss.rev_swig_ptr(lists.get_ids(cell), size)
            vectors = codes.view(np.float32).reshape(size, self.index.d)
            if self.stop is not None:
                inside = (rows >= self.start) & (rows < self.stop)
                rows, vectors = rows[inside] - self.start, vectors[inside]
            found.append((rows, vectors))
        return found

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 (m, k) in descending order and rows int64 (m, k); row -1 with score -inf is no hit."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        for start in range(0, len(queries), _QUERIES):
            part = slice(start, start + _QUERIES)
            self._block(queries[part], scores[part], rows[part])
        return scores, rows

    def _block(self, queries: np.ndarray, scores: np.ndarray, rows: np.ndarray) -> None:
        """Fills scores and rows (m, k), which begin as no hits."""
        m, k = scores.shape
        nprobe = min(self.index.nprobe, self.index.nlist)
        probes = self.index.quantizer.search(queries, nprobe)[1]  # (m, nprobe), nearest first
        first = -(-_FIRST * k * self.index.nlist // max(self.index.ntotal, 1))
        start = 0
        while start < nprobe:
            stop = min(nprobe, max(first, 2 * start))
            owner, score, row = self._visit(queries, probes[:, start:stop], scores[:, -1], k)
            have, place = np.nonzero(rows >= 0)
            owner = np.concatenate([have, owner])
            score, row = np.concatenate([scores[have, place], score]), np.concatenate([rows[have, place], row])
            order = np.argsort(_keys(owner, score), kind="stable")
            counts = np.bincount(owner, minlength=m)
            within = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
            best = order[within < k]
            i, j = owner[best], within[within < k]
            scores[i, j], rows[i, j] = score[best], row[best]
            start = stop

    def _visit(
        self, queries: np.ndarray, probes: np.ndarray, least: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Query, score and row of each document in the probed cells (m, p) that scores above the query's least (m,), or k of them."""
        order = np.argsort(probes, axis=None, kind="stable")
        cells, visitors = probes.ravel()[order], order // probes.shape[1]
        edges = np.flatnonzero(np.concatenate([[True], cells[1:] != cells[:-1], [True]]))
        owners, scores, rows = [], [], []
        for low, high in pairwise(edges):
            if cells[low] < 0:
                continue  # fewer lists than were asked for
            ids, vectors = self._cells[cells[low]]
            step = max(1, _ENTRIES // max(len(ids), 1))
            for at in range(low, high if len(ids) else low, step):
                who = visitors[at : min(at + step, high)]
                found = queries[who] @ vectors.T  # (v, c)
                flat = np.flatnonzero(found > _threshold(found, least[who], k)[:, None])
                owners.append(who[flat // len(ids)])
                rows.append(ids[flat % len(ids)])
                scores.append(found.ravel()[flat])
        if not owners:
            return np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.int64)
        return np.concatenate(owners), np.concatenate(scores), np.concatenate(rows)


def _threshold(found: np.ndarray, least: np.ndarray, k: int) -> np.ndarray:
    """What a score in found (v, c) must exceed: least (v,), or for a query without one what k of its scores exceed or equal."""
    if found.shape[1] <= 2 * k or np.isfinite(least).all():
        return np.asarray(least)
    kth = np.partition(found, found.shape[1] - k, axis=1)[:, found.shape[1] - k]
    return np.asarray(np.maximum(least, np.nextafter(kth, np.float32(-np.inf))))


def _keys(owner: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Numbers that sort by owner, then by descending float32 score: uint64 (n,)."""
    bits = np.ascontiguousarray(score, dtype=np.float32).view(np.uint32)
    ascending = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return np.asarray((owner.astype(np.uint64) << np.uint64(32)) | (~ascending).astype(np.uint64))
