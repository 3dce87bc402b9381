"""CLIP's loss: symmetric InfoNCE with a learned temperature, and mined negatives in it.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021, section 2.3 and figure 3, the
temperature as in section 2.5; the symmetric loss is equations 1 to 3 of Zhang et al., "Contrastive Learning of Medical Visual
Representations from Paired Images and Text" (ConVIRT), 2020, with their weight of 1/2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stages.losses._loss import Loss

if TYPE_CHECKING:
    from torch import nn


class Clip(Loss):
    """The mean of two cross-entropies: of each query's own document among the documents, and of each document's own query."""

    temperature: float = Field(
        0.07,
        ge=0.01,
        allow_inf_nan=False,
        description="divides the cosines; learned from there on and never below 0.01",
    )
    temperature_rate: float = Field(
        100.0, gt=0, allow_inf_nan=False,
        description="learning rate of the temperature's logarithm, in learning rates of the model; with 1 it hardly moves",
    )  # fmt: skip
    hard_negatives: Literal["shared", "own"] = Field(
        "shared",
        description="a row's mined negatives are negatives of all rows, or of this row only, which leaves fewer in a batch",
    )

    def module(self) -> nn.Module:
        """The loss, with the logarithm of its temperature as a parameter."""
        from stages.losses._infonce import InBatchInfonce
        from stages.losses._temperature import LearnedTemperature

        return InBatchInfonce(
            (("query_to_document",), ("document_to_query",)),
            LearnedTemperature(self.temperature, self.temperature_rate),
            shared=self.hard_negatives == "shared",
        )
