"""InfoNCE with in-batch and hard negatives.

van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018, equation 4; the other
rows of a batch as negatives after Henderson et al., "Efficient Natural Language Response Suggestion for Smart Reply",
2017, section 4.4; hard negatives shared among the rows after Karpukhin et al., "Dense Passage Retrieval for Open-Domain
Question Answering", 2020, section 3.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from stages.registry import Member

if TYPE_CHECKING:
    from torch import nn


class Infonce(Member):
    """Every document of the batch is a candidate of every query: cross-entropy to the query's own positive."""

    temperature: float = Field(
        0.05,
        gt=0,
        description="divides the cosines, which gives the logits; lower presses harder on the hardest negatives",
    )

    def module(self) -> nn.Module:
        """The loss; it has nothing to learn."""
        from stages.losses._infonce import InBatchInfonce

        return InBatchInfonce(self.temperature)
