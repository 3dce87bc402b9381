"""What the near-duplicate rules share: a candidate beside each known positive of its query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stages.judging import Candidates, Labels

BLOCK = 16_384
"""Documents whose texts or vectors are held at a time."""


@dataclass(frozen=True)
class Pairs:
    """p pairs of a document and a known positive of the query it is a candidate of, each once."""

    document: np.ndarray  # int32 (p,)
    positive: np.ndarray  # int32 (p,)
    owner: np.ndarray  # int64 (p,), ascending: a number of the (query text, document)
    owner_of: np.ndarray  # int64 (n,): the same number for each candidate
    owners: int

    @classmethod
    def of(cls, candidates: Candidates) -> Pairs:
        """Positives of all queries with the same text count, one document for each text among them."""
        known, documents = candidates.known, len(candidates.known.doc_text)
        keys, owner_of = np.unique(
            known.query_text[candidates.query_row] * documents + candidates.doc_row, return_inverse=True
        )
        positive, owner = known.positives_of(keys // max(documents, 1))
        return cls((keys % max(documents, 1)).astype(np.int32)[owner], positive, owner, owner_of, len(keys))

    def labels(self, similarity: np.ndarray, threshold: float) -> Labels:
        """Drops where the greatest similarity (p,) reaches the threshold, or one cannot be computed.

        A candidate whose query has no known positive passes. −inf stands for any similarity below the threshold.
        """
        first = np.flatnonzero(np.diff(self.owner, prepend=-1))
        greatest, has = np.full(self.owners, -np.inf), np.zeros(self.owners, dtype=bool)
        if len(first):
            greatest[self.owner[first]] = np.maximum.reduceat(similarity, first)
            has[self.owner[first]] = True
        passes = ~has | (greatest < threshold)
        value = np.where(np.isfinite(greatest), greatest, np.nan)[self.owner_of]
        return Labels(~passes[self.owner_of], value, np.full(len(value), threshold))


def blocks(rows: np.ndarray) -> list[np.ndarray]:
    """Rows (n,) in blocks of `BLOCK`."""
    return [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]


def by_document(document: np.ndarray, wanted: list[np.ndarray]) -> Iterator[np.ndarray]:
    """For each block of ascending rows, the places in `document` (p,) of its documents."""
    order = np.argsort(document, kind="stable")
    ordered = document[order]
    for rows in wanted:
        yield order[np.searchsorted(ordered, rows[0]) : np.searchsorted(ordered, rows[-1], "right")]
