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
from functools import cached_property

import numpy as np

from stages.indexes._choose import choose
from stages.indexes._kernels import PACK, Documents, Kernel, Pack, Pairs, Queries, together
from stages.scoring import GRID, euclidean
from stages.search import Candidates, certified_search

_DOCUMENTS = {"cpu": 4_096, "cuda": 16_384}  # larger blocks leave the cache, smaller ones cost calls
_OVER = 2.0  # how many more documents than asked for a limit is meant to let through
_SMALL = 4_096  # documents that are all looked at for the limits
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

    @cached_property
    def kernel(self) -> Kernel:
        """The kernel that is used on this machine."""
        return choose(self.kernel_name, self.device, *self.vectors.shape)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 (m, k) in descending order and rows int64 (m, k); row -1 is no hit. Ties are ordered by row."""
        hits = certified_search(self, np.ascontiguousarray(queries, dtype=np.float32), self.vectors, k, True)
        missing = ((0, 0), (0, k - hits.rows.shape[1]))
        rows = np.pad(hits.rows.astype(np.int64), missing, constant_values=-1)
        return np.pad(hits.scores.astype(np.float32), missing, constant_values=-np.inf), rows

    def part(self, start: int, stop: int) -> Join:
        """See `stages.search.Parted`."""
        return Join(self.vectors[start:stop], self.kernel_name, self.device, self.memory)

    def threads(self, queries: int) -> int:
        """See `stages.search.Joined`. The kernel is chosen here, while nothing else is running."""
        import torch

        return max(1, min(torch.get_num_threads(), queries // PACK["cpu"])) if self.kernel.device == "cpu" else 1

    def candidates(self, queries: np.ndarray, k: int, fetch: int, share: int = 1) -> Iterator[Candidates]:
        """See `stages.search.Joined`."""
        n, pack = len(self.vectors), PACK[self.device]
        if fetch >= n:
            yield from (_everything(min(pack, len(queries) - a), n) for a in range(0, len(queries), pack))
            return
        lengths = euclidean(queries)
        room = self._pairs // share
        group = max(pack, room // int(2 * _OVER * fetch) // pack * pack)
        passes = max(1, -(-len(queries) // group))
        group = max(pack, -(-len(queries) // passes // pack) * pack)  # as many passes, and the least memory
        # Scores that are closer than a step of the grid are ties, which rows break: none of them may be dropped.
        ties = np.divide(2 * GRID, lengths, out=np.zeros(len(lengths)), where=lengths > 0)
        for a in range(0, len(queries), group):
            part, start = slice(a, a + group), a
            for found in self._group(_Asked(queries[part], lengths[part], ties[part]), k, fetch, room):
                stop = start + len(found.limits)
                yield self._scaled(found, lengths[start:stop])
                start = stop

    def _scaled(self, found: Candidates, lengths: np.ndarray) -> Candidates:
        """The candidates of queries of length 1, as those of queries of the lengths float64 (m,)."""
        # Queries of length 1 are rounded, by at most 2^-23 of a score, which is at most the longest document's.
        slack = 2.0**-22 * lengths * max(known.length for known in self._known.values()) + 2 * GRID
        length, more = (np.repeat(values, np.diff(found.offsets)) for values in (lengths, slack))
        with np.errstate(invalid="ignore"):  # no bound of a query of length 0
            most = found.most * length + more
        return found._replace(least=found.least * length - more, most=most, limits=found.limits * lengths + slack)

    @property
    def _pairs(self) -> int:
        """Found pairs that fit into half of the memory."""
        return max(self.memory * (1 << 19) // _PAIR, 1)

    def _group(self, asked: _Asked, k: int, fetch: int, room: int) -> Iterator[Candidates]:
        """Candidates of the queries over their lengths, in one pass over the documents, pack by pack."""
        size, count = PACK[self.device], len(asked.lengths)
        packs = [asked.part(slice(a, a + size)) for a in range(0, count, size)]
        encoded = together([self.kernel.queries(pack.unit) for pack in packs])
        limit, span = self._limits(encoded, count, fetch)
        most = room * min(size, count) // count
        finds = [_Found(pack, limit[a : a + size], most) for pack, a in zip(packs, range(0, count, size), strict=True)]
        for start, documents in self._documents():
            wanted = [number for number, found in enumerate(finds) if not found.full]
            for number, pairs in self.kernel.above(documents, encoded, limit, span, wanted):
                finds[number].add(pairs, start)
        for found in finds:
            if found.full:  # very many equal scores
                half = len(found.limit) // 2
                for part in (slice(half), slice(half, None)):
                    yield from self._group(found.asked.part(part), k, fetch, room)
            else:
                yield found.select(k)

    def _documents(self) -> Iterator[tuple[int, Documents]]:
        size, keep = _DOCUMENTS[self.device], self._keeps
        for start in range(0, len(self.vectors), size):
            known = self._known.get(start)
            values = self.vectors[start : start + size]
            documents = self.kernel.documents(values, known)
            if known is None:
                self._known[start] = documents if keep else documents._replace(codes=None)
            yield start, documents

    @cached_property
    def _keeps(self) -> bool:
        """Whether codes are kept from one search to the next. What a GPU has not kept is sent there again each time."""
        import torch

        if self.device == "cpu":
            return self.kernel.name == "int8"  # a quarter of the vectors; other codes are made anew, which is cheap
        bytes_a_value = 2 if self.kernel.name == "bf16" else 4
        return bool(2 * bytes_a_value * self.vectors.size <= torch.cuda.mem_get_info()[0])

    def _limits(self, queries: Queries, count: int, fetch: int) -> tuple[np.ndarray, np.ndarray]:
        """What about twice `fetch` documents exceed, judging by a sample: float64 (count,); and how far scores of a pack go beyond."""
        n = len(self.vectors)
        wanted = min(int(_OVER * fetch), n)
        size = n if n <= _SMALL else max(_SMALL // 2, min(n // 16, -(-n * _RANK // wanted)))
        rank = max(1, min(size, round(wanted * size / n)))
        bins = max(1, min(16, size // (8 * rank)))
        parts, limits, spans = self._sample(size, bins), [], []
        for start, pack in zip(range(0, count, PACK[self.device]), queries.packs, strict=True):
            of_pack = min(PACK[self.device], count - start)
            best = self._best(parts, pack, min(rank, size // bins))[:of_pack]
            limits.append(best[:, -1].astype(np.float64))
            spans.append(float(np.quantile(best[:, 0] - limits[-1], 0.99)) * 1.25)
        return np.concatenate(limits), np.array(spans)

    def _best(self, parts: list[Documents], pack: Pack, rank: int) -> np.ndarray:
        """The best scores of queries in a sample, descending: float32 (m padded, rank)."""
        import torch

        first, *others = parts
        best = self.kernel.scores(first, pack).clone()
        for part in others:  # the best of several stand for them, so that few are left to choose from
            torch.maximum(best, self.kernel.scores(part, pack), out=best)
        best = best.T.float().contiguous()
        if best.is_cpu:  # numpy sorts all in an eighth of the time
            return np.sort(best.numpy(), axis=1)[:, : -rank - 1 : -1]
        values: np.ndarray = torch.topk(best, rank, dim=1).values.cpu().numpy()
        return values

    def _sample(self, size: int, bins: int) -> list[Documents]:
        """`size` documents, spread evenly, in bins of one width each."""
        if (size, bins) not in self._sampled:
            rows = (np.arange(size) * len(self.vectors) // size)[: size // bins * bins].reshape(bins, -1)
            sampled = [self.kernel.documents(self.vectors[part]) for part in rows]
            self._sampled = {(size, bins): sampled}
            return sampled
        return self._sampled[size, bins]


@dataclass(frozen=True)
class _Asked:
    """Queries float32 (m, d), their lengths, and how near each other scores of one over its length are that may be equal."""

    queries: np.ndarray
    lengths: np.ndarray  # float64 (m,)
    ties: np.ndarray  # float64 (m,)

    def part(self, part: slice) -> _Asked:
        return _Asked(self.queries[part], self.lengths[part], self.ties[part])

    @property
    def unit(self) -> np.ndarray:
        """The queries over their lengths, float32, divided in float64. Those of length 0 stay. Made anew each time."""
        divided = self.queries / np.where(self.lengths == 0, 1, self.lengths)[:, None]
        return np.asarray(divided, dtype=np.float32)


class _Found:
    """A pack of queries and the pairs found for them."""

    def __init__(self, asked: _Asked, limit: np.ndarray, most: int) -> None:
        self.asked, self.limit, self._most = asked, limit, most
        self.full, self._count = False, 0
        self._pairs: list[tuple[np.ndarray, ...]] = []

    def add(self, pairs: Pairs, start: int) -> None:
        """Pairs with the documents from row `start` on. Full means that there are too many."""
        self._count += len(pairs.least)
        self._pairs.append((pairs.documents + np.int32(start), *pairs[1:]))
        if self._count > self._most and len(self.limit) > 1:
            self.full, self._pairs = True, []

    def select(self, k: int) -> Candidates:
        """Of the pairs found, those that can be among the k best of their query, by query and row."""
        from stages.compiled.pairs import contenders

        rows, queries, least, most = (np.concatenate(part) for part in zip(*self._pairs, strict=True))
        self._pairs = []
        found = contenders(rows, queries, least, most, self.asked.ties, k)
        return Candidates._make((*found, self.limit))


def _everything(queries: int, documents: int) -> Candidates:
    rows = np.tile(np.arange(documents), queries)
    no_bound, all_ = np.full(len(rows), np.inf), np.ones(len(rows), dtype=bool)
    return Candidates(np.arange(queries + 1) * documents, rows, -no_bound, no_bound, all_, np.full(queries, -np.inf))
