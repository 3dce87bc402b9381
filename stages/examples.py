"""What a model is trained on: pairs of a query and a positive, the negatives of each, and what is known to be relevant.

Everything here is by row; texts are looked up when a batch is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class Examples:
    """One example a pair, by (query, positive). The negatives of example i stand from `offsets[i]` to `offsets[i + 1]`."""

    queries: np.ndarray  # int32 (n,)
    positives: np.ndarray  # int32 (n,)
    negatives: np.ndarray  # int32 (Σ n_i,)
    offsets: np.ndarray  # int64 (n + 1,)

    def __len__(self) -> int:
        return len(self.queries)

    def negatives_of(self, picked: np.ndarray) -> np.ndarray:
        """The negatives of the picked examples, one example after the other: int32 (Σ n_i,)."""
        negatives: np.ndarray = self.negatives[_spans(self.offsets[picked], self.offsets[picked + 1])]
        return negatives

    def owners_of(self, picked: np.ndarray) -> np.ndarray:
        """Which of the picked examples brought each of `negatives_of`, by its place among them: int64 (Σ n_i,)."""
        return np.repeat(np.arange(len(picked)), self.offsets[picked + 1] - self.offsets[picked])


def examples(
    qrels: pa.Table, triplets: pa.Table, limit: int | None, pairs: Literal["all", "mined"]
) -> tuple[Examples, dict[str, int]]:
    """The examples of the split train, and the counters of how they came about.

    Args:
        qrels: query_row, doc_row, relevance, split.
        triplets: query_row, positive_row, negative_row; the negatives of a pair in order of choice.
        limit: negatives of a pair at most, the first ones; None takes all.
        pairs: "mined" leaves out the pairs without a negative.
    """
    relevant = qrels.filter(pc.and_(pc.greater(qrels["relevance"], 0), pc.equal(qrels["split"], "train")))
    keys = np.unique(_keys(relevant["query_row"], relevant["doc_row"]))  # (n,)
    mined = _keys(triplets["query_row"], triplets["positive_row"])  # (t,)
    known = np.isin(mined, keys)
    pair = np.searchsorted(keys, mined[known])
    order = np.argsort(pair, kind="stable")
    pair, negatives = pair[order], triplets["negative_row"].to_numpy()[known][order]
    first = np.ones(len(pair), dtype=bool)
    if limit is not None:
        first = np.arange(len(pair)) - np.searchsorted(pair, pair) < limit
    pair, negatives = pair[first], negatives[first]
    sizes = np.bincount(pair, minlength=len(keys))  # (n,)
    counters = {
        "pairs": len(keys),
        "pairs.without_negatives": int((sizes == 0).sum()),
        "triplets": len(mined),
        "triplets.not_of_train": int((~known).sum()),
        "triplets.over_limit": int((~first).sum()),
    }
    if pairs == "mined":
        keys, sizes = keys[sizes > 0], sizes[sizes > 0]
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes, dtype=np.int64)])
    queries, positives = (keys >> 32).astype(np.int32), (keys & 0xFFFFFFFF).astype(np.int32)
    return Examples(queries, positives, negatives.astype(np.int32), offsets), counters


class Known:
    """Which documents are known to be relevant to which queries, by text.

    Queries with the same text share their relevant documents, and a document with the text of a relevant one is relevant
    too: otherwise a copy of a positive would count as a negative.
    """

    def __init__(self, qrels: pa.Table, queries: np.ndarray, documents: np.ndarray) -> None:
        """From qrels of every split, and the hashes of the queries' and the documents' texts by row: int64."""
        _, self._query = np.unique(queries, return_inverse=True)  # row → text
        _, self._document = np.unique(documents, return_inverse=True)
        relevant = qrels.filter(pc.greater(qrels["relevance"], 0))
        query, document = relevant["query_row"].to_numpy(), relevant["doc_row"].to_numpy()
        pairs = np.unique((self._query[query].astype(np.int64) << 32) | self._document[document])
        self._relevant = pairs & 0xFFFFFFFF  # texts of documents, by text of query
        self._offsets = np.searchsorted(pairs >> 32, np.arange(len(queries) + 1))

    def mask(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """True where the document is known to be relevant to the query: rows (b,) and (m,) to bool (b, m)."""
        texts = self._query[queries]
        starts, stops = self._offsets[texts], self._offsets[texts + 1]
        wanted = self._relevant[_spans(starts, stops)]  # texts of documents, for one query after the other
        owner = np.repeat(np.arange(len(queries)), stops - starts)
        found = self._document[documents]
        order = np.argsort(found, kind="stable")
        left, right = (np.searchsorted(found, wanted, side, sorter=order) for side in ("left", "right"))
        mask = np.zeros((len(queries), len(documents)), dtype=bool)
        mask[np.repeat(owner, right - left), order[_spans(left, right)]] = True
        return mask


def _keys(high: pa.ChunkedArray, low: pa.ChunkedArray) -> np.ndarray:
    """Two columns of rows as one number that sorts as they do: int64."""
    keys: np.ndarray = (high.to_numpy().astype(np.int64) << 32) | low.to_numpy().astype(np.int64)
    return keys


def _spans(starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """The numbers from each start to its stop, without it, one span after the other: int64."""
    lengths = stops - starts
    before = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])[:-1]
    spans: np.ndarray = np.arange(lengths.sum()) + np.repeat(starts - before, lengths)
    return spans
