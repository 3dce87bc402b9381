"""SigLIP's loss: a yes or no for every pair of a batch, each by itself.

Zhai et al., "Sigmoid Loss for Language Image Pre-Training", 2023, equation in section 3.2 and algorithm 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stages.losses._loss import Loss

if TYPE_CHECKING:
    from torch import nn


class Siglip(Loss):
    """−1/B Σ_i Σ_j log σ(z_ij (c(q_i, d_j) / τ + b)), with z_ij 1 for the own document and −1 for every other that is not masked."""

    temperature: float = Field(
        0.1, ge=0.01, allow_inf_nan=False, description="divides the cosines; learned from there on and never below 0.01"
    )
    bias: float = Field(
        -10.0,
        allow_inf_nan=False,
        description="added to every logit and learned; far below 0 it lets training begin with nearly all pairs told apart",
    )
    rate: float = Field(
        100.0, gt=0, allow_inf_nan=False,
        description="learning rate of bias and temperature's logarithm, in learning rates of the model; with 1 they hardly move",
    )  # fmt: skip
    hard_negatives: Literal["shared", "own"] = Field(
        "shared",
        description="a row's mined negatives are negatives of all rows, or of this row only, which leaves fewer in a batch",
    )

    def module(self) -> nn.Module:
        """The loss, with bias and the logarithm of its temperature as parameters."""
        from stages.losses._sigmoid import PairwiseSigmoid
        from stages.losses._temperature import LearnedBias, LearnedTemperature

        return PairwiseSigmoid(
            LearnedTemperature(self.temperature, self.rate),
            LearnedBias(self.bias, self.rate),
            shared=self.hard_negatives == "shared",
        )
