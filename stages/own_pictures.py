"""A picture that looks for others like it finds itself first, which says nothing: it is left out of what is measured.

Where a query is a picture and so are the documents, a document with the query's own pixels does not count, unless the judgements
call it relevant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.measuring import Topics
from stages.scopes import Scopes
from stages.spec import Inputs


@dataclass(frozen=True)
class Itself:
    """Which documents are the query itself."""

    queries: (
        np.ndarray
    )  # int64 (m,), hashes of the pixels of the queries that are measured; none where it does not matter
    documents: np.ndarray  # int64 (n,)
    relevant: list[dict[int, int]]  # (m,)
    most: int
    """How many documents a query leaves out at most."""

    @classmethod
    def of(cls, inputs: Inputs, topics: Topics, scopes: Scopes) -> Itself:
        """Of pictures that are searched among pictures; of anything else nothing is left out."""
        if not scopes.pictures or scopes.shown is not None:
            return cls(np.empty(0, np.int64), np.empty(0, np.int64), [], 0)
        queries, documents = (
            inputs[name].read(["text_hash"])["text_hash"].to_numpy() for name in ("queries", "corpus")
        )
        hashes, counts = np.unique(documents, return_counts=True)
        asked = queries[topics.rows]
        most = int(counts[np.isin(hashes, asked)].max(initial=0))
        return cls(asked, documents, topics.relevant, most)

    def left_out(self, rows: np.ndarray, scores: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """The first `depth` of the hits (m, k) without the queries themselves, -1 and -inf where there are fewer."""
        if not self.most:
            return rows, scores
        own = (rows >= 0) & (self.documents[rows] == self.queries[:, None])
        for query, rank in zip(*np.nonzero(own), strict=True):
            own[query, rank] = int(rows[query, rank]) not in self.relevant[query]
        order = np.argsort(own, axis=1, kind="stable")[:, :depth]  # what is left out comes last
        rows, scores = np.where(own, -1, rows), np.where(own, -np.inf, scores)
        return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
