"""What several retrievers found for the same queries, as one table of documents and one order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from stages.arrays import coded
from stages.schemas import FOUND_BY
from stages.scoring import GRID


@dataclass(frozen=True)
class Union:
    """n pairs of query and document that at least one of R retrievers found, ordered by (query, document)."""

    query: np.ndarray  # int64 (n,), places among the m queries
    document: np.ndarray  # int32 (n,)
    rank: np.ndarray  # int32 (n, R), from 1; 0 where the retriever did not find it
    score: np.ndarray  # float64 (n, R), the retriever's own; NaN where it did not find it

    @classmethod
    def of(cls, hits: Sequence[tuple[np.ndarray, np.ndarray]]) -> Union:
        """From rows int32 (m, k), -1 for no hit, and scores float64 (m, k) of each retriever, R ≥ 1."""
        places = [np.nonzero(rows >= 0) for rows, _ in hits]
        keys = [(q << 32) | rows[q, c] for (q, c), (rows, _) in zip(places, hits, strict=True)]
        every = np.unique(np.concatenate(keys))
        rank = np.zeros((len(every), len(hits)), dtype=np.int32)
        score = np.full((len(every), len(hits)), np.nan)
        for r, ((q, c), key, (_, scores)) in enumerate(zip(places, keys, hits, strict=True)):
            place = np.searchsorted(every, key)
            rank[place, r] = c + 1
            score[place, r] = scores[q, c]
        return cls(every >> 32, (every & 0xFFFFFFFF).astype(np.int32), rank, score)

    def ranked(self, fused: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pairs in the order of (query, -fused on the grid, document), int64 (n,); and the rank of each, from 1."""
        steady = np.rint(fused / GRID)  # sums that differ by the order of their terms alone are ties
        order = np.lexsort((self.document, -steady, self.query))
        first = np.searchsorted(self.query, self.query)  # the order keeps each query's pairs where they are
        return order, np.arange(len(order)) - first + 1

    def found_by(self, order: np.ndarray, labels: Sequence[str]) -> pa.ListArray:
        """The column `found_by` of the pairs in an order: each retriever's rank and score, in the order of the labels."""
        rank, score = self.rank[order], self.score[order]
        row, retriever = np.nonzero(rank > 0)
        offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(order)))])
        entries = pa.StructArray.from_arrays(
            [coded(retriever, labels), pa.array(rank[row, retriever]), pa.array(score[row, retriever])],
            fields=list(FOUND_BY.value_type),
        )
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), entries, type=FOUND_BY)


class Fusion(Protocol):
    """A rule that makes one score out of several ranks and scores, one file in `fusions/`."""

    @property
    def name(self) -> str: ...

    @property
    def weights(self) -> dict[str, float]:
        """Weights by the name of the retriever; 1 where there is none."""
        ...

    def semantic(self) -> dict[str, Any]: ...

    def fuse(self, union: Union, labels: Sequence[str]) -> np.ndarray:
        """The fused score of each pair, float64 (n,), higher is better; `labels` (R,) are the retrievers' names."""
        ...
