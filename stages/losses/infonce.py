"""InfoNCE with in-batch and hard negatives, in any of four directions.

van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018, equation 4; the other
rows of a batch as negatives after Henderson et al., "Efficient Natural Language Response Suggestion for Smart Reply",
2017, section 4.4; hard negatives shared among the rows after Karpukhin et al., "Dense Passage Retrieval for Open-Domain
Question Answering", 2020, section 3.2. The four directions under one partition function: Li et al., "Towards General
Text Embeddings with Multi-stage Contrastive Learning" (GTE), 2023, section 3.3. Hardness: the weights exp(β·similarity)
of Robinson et al., "Contrastive Learning with Hard Negative Samples", 2021, section 3, not normalised and without
gradient as in Lan et al., "LLaVE", 2025, equation 5. Learned temperature: Radford et al. (CLIP), 2021, section 2.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from stages.errors import ConfigError
from stages.losses._loss import Loss

if TYPE_CHECKING:
    from torch import nn

    from stages.losses._guide import Suspicion

Direction = Literal["query_to_document", "document_to_query", "query_to_query", "document_to_document"]


class Infonce(Loss):
    """Every document of the batch is a candidate of every query: cross-entropy to the query's own positive."""

    temperature: float = Field(
        0.05,
        gt=0,
        description="divides the cosines, which gives the logits; lower presses harder on the hardest negatives",
    )
    learned_temperature: bool = Field(
        False, description="learn the temperature with the model, from `temperature` on and never below 0.01"
    )
    temperature_rate: float = Field(
        100.0,
        gt=0,
        description="learning rate of a learned temperature's logarithm, in learning rates of the model; with 1 it hardly moves",
    )
    directions: tuple[Direction, ...] = Field(
        ("query_to_document",),
        description="what is held against what; each costs one more matrix of similarities, those to documents the larger ones",
    )
    reduction: Literal["joint", "per_direction"] = Field(
        "joint",
        description="one partition function over all directions as in GTE, or the mean of one cross-entropy for each as in CLIP",
    )
    hard_negatives: Literal["shared", "own"] = Field(
        "shared",
        description="a row's mined negatives are negatives of all rows, or of this row only, which leaves fewer in a batch",
    )
    hardness: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="β of the negatives' weight exp(β·cosine); 0 weighs all alike, papers take 5 to 9",
    )
    hardness_of: Literal["all", "in_batch", "hard"] = Field(
        "all",
        description="the negatives with that weight: all of them, those of other rows, or a row's own mined ones",
    )

    @model_validator(mode="after")
    def _can_be_computed(self) -> Infonce:
        if not self.directions or len(set(self.directions)) < len(self.directions):
            raise ConfigError(
                "the directions of a loss are at least one, and each of them once",
                where=f"losses.{self.name}.directions",
                got=list(self.directions),
                try_='directions = ["query_to_document"]',
            )
        if self.hardness and self.hardness_of == "hard" and "query_to_document" not in self.directions:
            raise ConfigError(
                "a row's own mined negatives stand in no direction but query_to_document",
                where=f"losses.{self.name}.hardness_of",
                try_='hardness_of = "all"',
            )
        if self.learned_temperature and self.temperature < 0.01:
            raise ConfigError(
                "a learned temperature is never below 0.01, and cannot start there",
                where=f"losses.{self.name}.temperature",
                got=self.temperature,
            )
        return self

    def module(self) -> nn.Module:
        """The loss, with the logarithm of its temperature as a parameter where that is learned."""
        from stages.losses._infonce import InBatchInfonce
        from stages.losses._temperature import LearnedTemperature, Temperature

        return InBatchInfonce(
            (self.directions,) if self.reduction == "joint" else tuple((each,) for each in self.directions),
            LearnedTemperature(self.temperature, self.temperature_rate)
            if self.learned_temperature
            else Temperature(self.temperature),
            shared=self.hard_negatives == "shared",
            hardness=self.hardness,
            weighted=self.hardness_of,
            suspicion=self._suspicion(),
        )

    def _suspicion(self) -> Suspicion | None:
        """What a guide masks besides: nothing."""
        return None
