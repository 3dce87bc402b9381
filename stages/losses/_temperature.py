"""The temperature of a softmax over cosines, fixed or learned. Importing this file imports torch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

HIGHEST_SCALE = 100.0
"""What a learned 1 / temperature is held below, as CLIP does."""


class Temperature(nn.Module):
    """Divides by a temperature that stays as it is."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, cosines: Tensor) -> Tensor:
        return cosines / self.temperature

    def extra_repr(self) -> str:
        return f"temperature={self.temperature:.6g}"


class LearnedTemperature(nn.Module):
    """Multiplies by exp(log scale), with log scale = log(1 / start) + rate · θ and θ learned from 0 on.

    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (CLIP), 2021, section 2.5.
    AdamW moves a number by about its learning rate a step, whatever the gradient; `rate` makes a step in log scale that
    many times larger. Weight decay draws towards the temperature that training started with.
    """

    def __init__(self, start: float, rate: float) -> None:
        super().__init__()
        self.start, self.rate = -math.log(start), rate
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, cosines: Tensor) -> Tensor:
        """The parameter is clipped, not its use: a clipped use would have no gradient to come back by."""
        with torch.no_grad():
            self.offset.clamp_(max=(math.log(HIGHEST_SCALE) - self.start) / self.rate)
        return cosines * (self.start + self.rate * self.offset.to(cosines.dtype)).exp()

    def extra_repr(self) -> str:
        return f"temperature={math.exp(-self.start - self.rate * float(self.offset.detach())):.6g}, learned"


class LearnedBias(nn.Module):
    """Adds start + rate · θ with θ learned from 0 on; `rate` as for `LearnedTemperature`."""

    def __init__(self, start: float, rate: float) -> None:
        super().__init__()
        self.start, self.rate = start, rate
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, logits: Tensor) -> Tensor:
        return logits + (self.start + self.rate * self.offset.to(logits.dtype))

    def extra_repr(self) -> str:
        return f"bias={self.start + self.rate * float(self.offset.detach()):.6g}, learned"
