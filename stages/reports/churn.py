"""How a round's training negatives differ from those of the round before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.spec import Source


@dataclass(frozen=True)
class Churn:
    """What changed among the training negatives, which are counted for each pair of a query and a positive."""

    round: int
    negatives: int
    before: int
    """Negatives of the round before."""
    shared: int
    """Negatives of both."""
    jaccard: float
    """Mean over the queries of either round: shared / all of a query. 0 is nothing in common, 1 no change."""
    queries_gained: int
    """Queries with negatives that had none."""
    queries_lost: int
    """Queries without negatives that had some."""

    @property
    def new(self) -> float:
        """Share of the negatives that are new to their pair."""
        return 1 - self.shared / self.negatives if self.negatives else 0.0


def churn(round: int, triplets: Source, before: Source) -> Churn:
    """Compares the triplets of a round with those of the round before, both once for each negative of a pair."""
    here, there = _negatives(triplets), _negatives(before)
    both = np.intersect1d(here, there)
    queries = np.union1d(here["query"], there["query"])
    own, other, shared = (
        np.bincount(np.searchsorted(queries, each["query"]), minlength=len(queries)) for each in (here, there, both)
    )
    return Churn(
        round=round,
        negatives=len(here),
        before=len(there),
        shared=len(both),
        jaccard=float((shared / (own + other - shared)).mean()) if len(queries) else 1.0,
        queries_gained=int((other == 0).sum()),
        queries_lost=int((own == 0).sum()),
    )


def _negatives(triplets: Source) -> np.ndarray:
    """Different triplets in order: records of query, positive and negative, (n,)."""
    columns = triplets.read(["query_row", "positive_row", "negative_row"]).columns
    rows = np.empty(triplets.rows, dtype=[("query", "<i4"), ("positive", "<i4"), ("negative", "<i4")])
    for name, column in zip(rows.dtype.names or (), columns, strict=True):
        rows[name] = column.to_numpy()
    return np.unique(rows)
