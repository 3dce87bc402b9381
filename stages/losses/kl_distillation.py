"""KL divergence of the student's distribution over a row's documents from the teacher's.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2; over the documents of a query
after Lin, Yang and Lin, "Distilling Dense Representations for Ranking using Tightly-Coupled Teachers", 2020, section 3.
Hinton's factor T² is left out: there is a temperature for each side, and AdamW takes no notice of a constant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stages.losses._loss import Loss
from stages.objectives import Wants

if TYPE_CHECKING:
    from torch import nn


class KlDistillation(Loss):
    """KL(softmax of the teacher ‖ softmax of the student) over a row's positive and mined negatives that have scores."""

    teacher: str | None = Field(None, description="label of the teacher whose scores count; none is the first one")
    similarity: Literal["dot", "cosine"] = Field(
        "cosine", description="the student's similarity: inner product of the embeddings as they are, or cosine"
    )
    temperature: float = Field(
        0.05, gt=0, allow_inf_nan=False, description="divides the student's similarities; 0.05 suits cosines"
    )
    teacher_temperature: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="divides the teacher's scores; 1 suits logits, shares from 0 to 1 want .05 to .2. Lower is sharper",
    )

    @property
    def wants(self) -> Wants:
        return Wants(scores=True, teacher=self.teacher)

    def module(self) -> nn.Module:
        """The loss; it has nothing to learn."""
        from stages.losses._distillation import KlModule

        return KlModule(self.similarity, self.temperature, self.teacher_temperature)
