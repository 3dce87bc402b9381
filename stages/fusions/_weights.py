"""What fusions share: a weight for each retriever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from stages.registry import Member


class Weighted(Member):
    """A fusion whose sum has weights."""

    weights: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(
        {}, description="weight of a retriever by its name; 1 where none is given"
    )

    def weights_of(self, labels: Sequence[str]) -> np.ndarray:
        """float64 (R,)."""
        return np.array([self.weights.get(label, 1.0) for label in labels])
