"""Reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009): the sum over retrievers of weight / (k + rank).

Ranks count from 1. A document that a retriever did not find gets nothing from it. Scores play no part.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from stages.fusion import Union
from stages.fusions._weights import Weighted


class Rrf(Weighted):
    """Fuses ranks."""

    k: float = Field(
        60, ge=0, allow_inf_nan=False, description="added to ranks, 60 in the paper; less gives first ranks more weight"
    )

    def fuse(self, union: Union, labels: Sequence[str]) -> np.ndarray:
        shares = np.where(union.rank > 0, 1 / (self.k + np.maximum(union.rank, 1)), 0.0)
        return np.asarray((shares * self.weights_of(labels)).sum(axis=1))
