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

    def of(self, picked: np.ndarray) -> Examples:
        """The picked examples alone, in their order."""
        sizes = self.offsets[picked + 1] - self.offsets[picked]
        return Examples(self.queries[picked], self.positives[picked], self.negatives_of(picked), _offsets(sizes))

    def first(self, limit: int) -> Examples:
        """The same with the first negatives of each example alone, `limit` at most."""
        sizes = np.minimum(np.diff(self.offsets), limit)
        starts = self.offsets[:-1]
        return Examples(self.queries, self.positives, self.negatives[_spans(starts, starts + sizes)], _offsets(sizes))


@dataclass(frozen=True)
class Pairs:
    """What the rules that make batches see: the examples, and which of their texts are the same. n examples."""

    examples: Examples
    """With the negatives that are trained on."""
    mined: Examples
    """The same examples with all the negatives that were mined for them."""
    query_text: np.ndarray
    """A number for the text of each example's query, equal for equal texts: int64 (n,)."""
    document_text: np.ndarray
    """A number for the text of each document, by row: int64."""
    source: np.ndarray
    """A number for the group of each example's positive, -1 where it has none: int64 (n,)."""
    shown: np.ndarray | None = None
    """Whether the query of each example is a picture that is held against texts, bool (n,); None where all are of one sort."""

    def __len__(self) -> int:
        return len(self.examples)

    def of(self, picked: np.ndarray) -> Pairs:
        """The picked pairs alone, in their order and all of one sort."""
        examples, mined = self.examples.of(picked), self.mined.of(picked)
        return Pairs(examples, mined, self.query_text[picked], self.document_text, self.source[picked])

    @property
    def positive_text(self) -> np.ndarray:
        """A number for the text of each example's positive: int64 (n,)."""
        texts: np.ndarray = self.document_text[self.examples.positives]
        return texts


def rotated(pool: Examples, negatives: int, seed: int, epoch: int) -> Examples:
    """Examples with `negatives` of their pool, others in each epoch until all have had their turn.

    The pool of an example stands in an order that is drawn from the seed, and epoch e takes the places e·n to e·n + n - 1
    of it, where n is `negatives`, around the end if need be. A pool of n or fewer is taken whole.
    """
    sizes = np.diff(pool.offsets)  # (m,)
    owner = np.repeat(np.arange(len(pool)), sizes)
    keys = np.random.default_rng([seed, 0, 1]).random(len(owner))
    order = np.lexsort((keys, owner))  # places of the pool, by owner and in the order of the turns
    turn = (np.arange(len(owner)) - pool.offsets[owner] - epoch * negatives) % sizes[owner]
    chosen = turn < negatives
    order, owner, turn = order[chosen], owner[chosen], turn[chosen]
    taken = pool.negatives[order[np.lexsort((turn, owner))]]
    return Examples(pool.queries, pool.positives, taken, _offsets(np.minimum(sizes, negatives)))


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
    offsets = _offsets(sizes)
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

    def texts(self) -> tuple[np.ndarray, np.ndarray]:
        """A number for the text of each query and of each document by row, equal for equal texts: int64."""
        return self._query, self._document

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


def _offsets(sizes: np.ndarray) -> np.ndarray:
    """Where each of several spans begins that stand one after the other, and where the last ends: int64 (n + 1,)."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes, dtype=np.int64)])


def _spans(starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """The numbers from each start to its stop, without it, one span after the other: int64."""
    lengths = stops - starts
    before = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])[:-1]
    spans: np.ndarray = np.arange(lengths.sum()) + np.repeat(starts - before, lengths)
    return spans
