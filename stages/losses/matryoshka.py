"""Embeddings whose first dimensions are embeddings too.

Kusupati et al., "Matryoshka Representation Learning", 2022, equation 1, around any other loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from stages.errors import ConfigError
from stages.losses._loss import Loss
from stages.losses.infonce import Infonce
from stages.objectives import Objective, Wants
from stages.registry import OneOf

if TYPE_CHECKING:
    from torch import nn


class Matryoshka(Loss):
    """Σ_m c_m · inner(first m dimensions), with the embeddings in full always among them."""

    inner: Annotated[Objective, OneOf("losses")] = Field(
        default_factory=Infonce, description="the loss at each length; a parameter that it learns is one for all"
    )
    dimensions: tuple[int, ...] = Field(
        (64, 128, 256),
        description="lengths at which the embeddings shall serve as well; each costs the loss once more, and no pass of the model",
    )
    weights: tuple[float, ...] | None = Field(
        None, description="c_m of each of the dimensions; none: 1 each. The full length has 1 where it is not listed"
    )

    @model_validator(mode="after")
    def _belong_together(self) -> Matryoshka:
        if not self.dimensions or min(self.dimensions) < 1 or len(set(self.dimensions)) < len(self.dimensions):
            raise ConfigError(
                "Matryoshka dimensions are one or more, above 0, and each of them once",
                where="losses.matryoshka.dimensions",
                got=list(self.dimensions),
            )
        given = self.weights
        if given is not None and (len(given) != len(self.dimensions) or not all(0 < each < 1e9 for each in given)):
            raise ConfigError(
                "there is one weight above 0 for each Matryoshka dimension",
                where="losses.matryoshka.weights",
                got=f"{list(given)} for {list(self.dimensions)}",
            )
        return self

    @property
    def wants(self) -> Wants:
        return self.inner.wants

    def module(self) -> nn.Module:
        """The loss, with what the inner one learns."""
        from stages.losses._matryoshka import MatryoshkaModule

        weights = self.weights or (1.0,) * len(self.dimensions)
        return MatryoshkaModule(self.inner.module(), self.dimensions, weights)
