"""Keeps a window of ranks.

Ranks count from 1 over all documents that were found, positives included. The window [10, 210) of FlagEmbedding's miner,
which counts from 0, is min = 11, max = 210. "Shift by N" (NV-Retriever, arXiv 2407.15831) is min = N + 1.
Evidence: value is the rank, limit the bound it breaks; of a rank inside, max, or min where there is no max.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from stages.errors import ConfigError
from stages.judging import Candidates, Labels
from stages.registry import Member


class RankWindow(Member):
    """Keeps min ≤ rank ≤ max."""

    min: int = Field(
        1,
        ge=1,
        description="first rank kept, from 1; more skips the likeliest false negatives and the hardest negatives",
    )
    max: int | None = Field(
        None, ge=1, description="last rank kept; less is harder negatives and fewer; none keeps all that were mined"
    )

    @model_validator(mode="after")
    def _holds_a_rank(self) -> Self:
        if self.max is not None and self.max < self.min:
            raise ConfigError(
                "the rank window is empty",
                where="filters.rank_window",
                got=f"min = {self.min}, max = {self.max}",
                try_="max ≥ min",
            )
        return self

    @property
    def deepest(self) -> int | None:
        """The last rank that can be kept: whoever searches deeper need not go beyond it."""
        return self.max

    def label(self, candidates: Candidates) -> Labels:
        rank = candidates.rank.astype(np.float64)
        last = np.inf if self.max is None else self.max
        early = rank < self.min
        return Labels(early | (rank > last), rank, np.where(early, self.min, self.min if self.max is None else last))
