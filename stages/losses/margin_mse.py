"""Margin-MSE: the student's margin between positive and negative becomes the teacher's.

Hofstätter et al., "Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation", 2020,
equation 8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stages.losses._loss import Loss
from stages.objectives import Wants

if TYPE_CHECKING:
    from torch import nn


class MarginMse(Loss):
    """Mean of (a·(s(q, p) − s(q, n)) − (t(q, p) − t(q, n)))² over the mined negatives n that the teacher scored."""

    teacher: str | None = Field(None, description="label of the teacher whose scores count; none is the first one")
    similarity: Literal["dot", "cosine"] = Field(
        "dot", description="the student's similarity: inner product of the embeddings as they are, or cosine"
    )
    scale: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="a multiplies the student's similarity; cosines reach shares from 0 to 1 as they are, logits of ±10 with 10",
    )

    @property
    def wants(self) -> Wants:
        return Wants(scores=True, teacher=self.teacher)

    def module(self) -> nn.Module:
        """The loss; it has nothing to learn."""
        from stages.losses._distillation import MarginMseModule

        return MarginMseModule(self.similarity, self.scale)
