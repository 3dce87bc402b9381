"""Score fusion: the weighted sum of each retriever's scores, normalised over what it found for the query.

Min-max (CombSUM of Fox and Shaw, TREC-2 1994, over the normalisation of Lee, SIGIR 1997): (s - min) / (max - min), and 1
for all where all scores are equal. Z-score (Renda and Straccia, SAC 2003): (s - mean) / deviation, and 0 for all where all
are equal. A document that a retriever did not find gets the lowest that it gives to any of the query's documents: 0 with
min-max. A retriever that found nothing for a query gives 0 to all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from stages.fusion import Union
from stages.fusions._weights import Weighted


class Scores(Weighted):
    """Fuses scores."""

    normalisation: Literal["min_max", "z_score"] = Field(
        "min_max", description="how scores of different retrievers become comparable; z_score heeds outliers less"
    )

    def fuse(self, union: Union, labels: Sequence[str]) -> np.ndarray:
        total = np.zeros(len(union.query))
        for column, weight in zip(union.score.T, self.weights_of(labels), strict=True):
            total += weight * self._normalised(union.query, column)
        return total

    def _normalised(self, query: np.ndarray, score: np.ndarray) -> np.ndarray:
        """One retriever's scores float64 (n,), NaN where it did not find the document, on a common scale."""
        found = np.flatnonzero(~np.isnan(score))
        value, owner, queries = score[found], query[found], int(query[-1]) + 1 if len(query) else 0
        low, high = np.full(queries, np.inf), np.full(queries, -np.inf)
        np.minimum.at(low, owner, value)
        np.maximum.at(high, owner, value)
        flat = ~(low < high)
        if self.normalisation == "min_max":
            scale = np.where(flat, 1.0, high - low)
            value = np.where(flat[owner], 1.0, (value - low[owner]) / scale[owner])
            missing = np.zeros(queries)
        else:
            count = np.maximum(np.bincount(owner, minlength=queries), 1)
            mean = np.bincount(owner, value, minlength=queries) / count
            apart = value - mean[owner]
            deviation = np.sqrt(np.bincount(owner, apart**2, minlength=queries) / count)
            scale = np.where(flat, 1.0, deviation)
            value = np.where(flat[owner], 0.0, apart / scale[owner])
            missing = np.where(flat, 0.0, (np.where(flat, 0.0, low) - mean) / scale)
        result = missing[query]
        result[found] = value
        return np.asarray(result)
