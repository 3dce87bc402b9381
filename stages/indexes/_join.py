"""All queries against all documents: what can be among the best, by a cheap product with a proven bound.

1. A sample of the documents gives each query a limit that about twice as many documents exceed as are asked for.
2. One kernel call a block of documents and a block of queries finds all pairs that can exceed it (see _kernels).
3. The k best of them give a lower bound for the last rank; what cannot reach it is dropped.

What was left out in the second step scores at most the limit. So a query whose last rank turns out to score more is proven
complete; for the others the caller asks again, for more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from stages.indexes._choose import choose
from stages.indexes._kernels import Documents, Kernel, Queries
from stages.search import GRID, Candidates, certified_search, euclidean

_QUERIES = 2_048
_DOCUMENTS = {"cpu": 2_048, "cuda": 16_384}  # larger blocks leave the cache, smaller ones cost calls
_OVER = 2.0  # how many more documents than asked for a limit is meant to let through
_RANK = 16  # the limit is this rank in the sample, or deeper: the fewer, the more chance decides
_PAIR = 24  # bytes a found pair


@dataclass
class Join:
    """Documents that are ready to be joined. The result depends on them alone; kernel, device and memory are speed."""

    vectors: np.ndarray  # float32 (n, d), may be a memory map
    kernel_name: str
    device: str
    memory: int  # MiB
    _known: dict[int, Documents] = field(default_factory=dict)
    _sampled: dict[tuple[int, int], list[Documents]] = field(default_factory=dict)

    @property
    def kernel(self) -> Kernel:
        """The kernel that is used on this machine."""
        return choose(self.kernel_name, self.device, self.vectors.shape[1])

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 (m, k) in descending order and rows int64 (m, k); row -1 is no hit. Ties are ordered by row."""
        hits = certified_search(self, np.ascontiguousarray(queries, dtype=np.float32), self.vectors, k, True)
        missing = ((0, 0), (0, k - hits.rows.shape[1]))
        rows = np.pad(hits.rows.astype(np.int64), missing, constant_values=-1)
        return np.pad(hits.scores.astype(np.float32), missing, constant_values=-np.inf), rows

    def part(self, start: int, stop: int) -> Join:
        """See `stages.search.Parted`."""
        return Join(self.vectors[start:stop], self.kernel_name, self.device, self.memory)

    def candidates(self, queries: np.ndarray, k: int, fetch: int) -> Candidates:
        """See `stages.search.Joined`."""
        n = len(self.vectors)
        if fetch >= n or not len(queries):
            return _everything(len(queries), n)
        lengths = euclidean(queries)
        group = max(_QUERIES, self._pairs // int(4 * _OVER * fetch) // _QUERIES * _QUERIES)
        parts = []
        for a in range(0, len(queries), group):
            length = np.where(lengths == 0, 1, lengths)[a : a + group, None]
            parts.append(self._group((queries[a : a + group] / length).astype(np.float32), k, fetch))
        joined = concatenate(parts)
        # Queries of length 1 are rounded, by at most 2^-23 of a score, which is at most the longest document's.
        slack = 2.0**-22 * lengths * max(known.length for known in self._known.values()) + 2 * GRID
        repeated = np.repeat(np.arange(len(queries)), np.diff(joined.offsets))
        least = joined.least * lengths[repeated] - slack[repeated]
        return Candidates(joined.offsets, joined.rows, least, joined.limits * lengths + slack)

    @property
    def _pairs(self) -> int:
        """Found pairs that fit into half of the memory."""
        return max(self.memory * (1 << 19) // _PAIR, 1)

    def _group(self, unit: np.ndarray, k: int, fetch: int) -> Candidates:
        """Candidates of queries of length 1, in one pass over the documents."""
        blocks = [
            _Block(unit[a : a + _QUERIES], self._pairs * _QUERIES // len(unit)) for a in range(0, len(unit), _QUERIES)
        ]
        for block in blocks:
            block.encoded = self.kernel.queries(block.unit)
            block.limit, block.span = self._limits(block.encoded, len(block.unit), fetch)
        for start, documents in self._documents():
            for block in blocks:
                block.add(self.kernel, documents, start)
        parts = []
        for block in blocks:
            if block.full:  # very many equal scores
                half = len(block.unit) // 2
                parts += [self._group(block.unit[:half], k, fetch), self._group(block.unit[half:], k, fetch)]
            else:
                parts.append(self._sharpen(block.unit, block.select(k), k))
        return concatenate(parts)

    def _sharpen(self, unit: np.ndarray, found: Candidates, k: int) -> Candidates:
        """Fewer candidates, by float32 scores, where the kernel's bound left many. They cost a third of float64 ones."""
        if len(found.rows) < 1.5 * k * len(unit):
            return found
        rough = np.empty(len(found.rows), dtype=np.float32)
        for q, (start, stop) in enumerate(pairwise(found.offsets.tolist())):
            for low in range(start, stop, 512):
                high = min(low + 512, stop)
                np.dot(self.vectors[found.rows[low:high]], unit[q], out=rough[low:high])
        d = self.vectors.shape[1]
        longest = max(known.length for known in self._known.values())
        error = np.full(len(rough), (d + 2) * 2.0**-24 / (1 - (d + 2) * 2.0**-24) * 1.001 * longest + 1e-36, np.float32)
        query = np.repeat(np.arange(len(unit)), np.diff(found.offsets))
        keep = _contenders(query, rough, error, len(unit), k)
        least = np.maximum(found.least, rough.astype(np.float64) - error)
        return Candidates(_offsets(query[keep], len(unit)), found.rows[keep], least[keep], found.limits)

    def _documents(self) -> Iterator[tuple[int, Documents]]:
        size = _DOCUMENTS[self.device]
        for start in range(0, len(self.vectors), size):
            known = self._known.get(start)
            values = self.vectors[start : start + size]
            documents = self.kernel.documents(values, known)
            if known is None:
                keep = self.kernel.name == "int8"  # a quarter of the vectors; other codes are made anew, which is cheap
                self._known[start] = documents if keep else documents._replace(codes=None)
            yield start, documents

    def _limits(self, queries: Queries, count: int, fetch: int) -> tuple[np.ndarray, float]:
        """What about twice `fetch` documents exceed, judging by a sample: float64 (count,); and how far scores go beyond."""
        import torch

        n = len(self.vectors)
        wanted = min(int(_OVER * fetch), n)
        size = n if n <= 2 * _QUERIES else max(_QUERIES, min(n // 16, -(-n * _RANK // wanted)))
        rank = max(1, min(size, round(wanted * size / n)))
        bins = max(1, min(16, size // (8 * rank)))
        first, *others = self._sample(size, bins)
        best = self.kernel.scores(first, queries).clone()
        for part in others:  # the best of several stand for them, so that few are left to choose from
            torch.maximum(best, self.kernel.scores(part, queries), out=best)
        width = size // bins
        best = torch.topk(best.T.contiguous()[:count].float(), min(rank, width), dim=1).values.cpu().numpy()
        limit = best[:, -1].astype(np.float64)
        return limit, float(np.quantile(best[:, 0] - limit, 0.99)) * 1.25

    def _sample(self, size: int, bins: int) -> list[Documents]:
        """`size` documents, spread evenly, in bins of one width each."""
        if (size, bins) not in self._sampled:
            rows = (np.arange(size) * len(self.vectors) // size)[: size // bins * bins].reshape(bins, -1)
            self._sampled = {(size, bins): [self.kernel.documents(self.vectors[part]) for part in rows]}
        return self._sampled[size, bins]


class _Block:
    """Queries and the pairs found for them."""

    encoded: Queries
    limit: np.ndarray
    span: float

    def __init__(self, unit: np.ndarray, most: int) -> None:
        self.unit, self.most, self.full, self.count = unit, most, False, 0
        self.found: list[tuple[np.ndarray, ...]] = []

    def add(self, kernel: Kernel, documents: Documents, start: int) -> None:
        """Looks for pairs with a block of documents, unless there are too many already."""
        if self.full:
            return
        pairs = kernel.above(documents, self.encoded, self.limit, self.span)
        self.count += len(pairs.rough)
        self.found.append(
            ((pairs.documents + start).astype(np.int32), pairs.queries.astype(np.uint16), pairs.rough, pairs.error)
        )
        if self.count > self.most and len(self.unit) > 1:
            self.full, self.found = True, []

    def select(self, k: int) -> Candidates:
        """Of the pairs found, those that can be among the k best of their query, by query and row."""
        rows, query, rough, error = (np.concatenate(part) for part in zip(*self.found, strict=True))
        order = np.argsort(query, kind="stable")
        rows, query, rough, error = rows[order], query[order], rough[order], error[order]
        keep = _contenders(query, rough, error, len(self.unit), k)
        least = rough[keep].astype(np.float64) - error[keep]
        return Candidates(_offsets(query[keep], len(self.unit)), rows[keep].astype(np.int64), least, self.limit)


def _contenders(query: np.ndarray, rough: np.ndarray, error: np.ndarray, queries: int, k: int) -> np.ndarray:
    """Which pairs, ordered by query, can be among the k best of their query: bool (t,).

    k documents score at least the k-th rough score less the widest error. A rough score at the top of a kernel's range
    stands for any above it, and is never dropped, as no other is larger.
    """
    offsets = _offsets(query, queries)
    full = np.diff(offsets) >= k
    last = np.full(queries, -np.inf)
    keys = np.sort(_descending(query, rough))
    last[full] = _rough(keys[offsets[:-1][full] + k - 1])
    widest = np.maximum.reduceat(np.append(error, 0).astype(np.float64), offsets[:-1])
    floor = np.where(full, last - widest - np.abs(last) * 2.0**-22, -np.inf)
    return np.asarray(rough + error.astype(np.float64) >= floor[query])


def _offsets(query: np.ndarray, queries: int) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.bincount(query, minlength=queries))])


def _descending(query: np.ndarray, rough: np.ndarray) -> np.ndarray:
    """uint64 keys that sort by query, and by falling score within one."""
    bits = (rough + np.float32(0)).view(np.int32)
    falling = np.where(bits < 0, bits, ~(bits ^ np.int32(-(2**31)))).view(np.uint32)
    return (query.astype(np.uint64) << np.uint64(32)) | falling


def _rough(keys: np.ndarray) -> np.ndarray:
    """The scores in such keys: float32."""
    falling = keys.astype(np.uint32).view(np.int32)
    return np.where(falling < 0, falling, ~falling ^ np.int32(-(2**31))).view(np.float32)


def _everything(queries: int, documents: int) -> Candidates:
    rows = np.tile(np.arange(documents), queries)
    return Candidates(np.arange(queries + 1) * documents, rows, np.full(len(rows), -np.inf), np.full(queries, -np.inf))


def concatenate(parts: list[Candidates]) -> Candidates:
    """Candidates of queries that follow each other."""
    if len(parts) == 1:
        return parts[0]
    counts = np.concatenate([[0], *(np.diff(part.offsets) for part in parts)])
    rows, least, limits = (np.concatenate(column) for column in list(zip(*parts, strict=True))[1:])
    return Candidates(np.cumsum(counts), rows, least, limits)
