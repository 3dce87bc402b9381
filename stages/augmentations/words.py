"""A span of a text's words, some of them left out.

The span is that of Contriever (Izacard et al., 2022, section 3.1), the deletion that of Wei and Zou, "EDA: Easy Data
Augmentation Techniques for Boosting Performance on Text Classification Tasks", 2019, section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from stages.registry import Member


class Words(Member):
    """With n words: a span of a share of them at a random place, then each word of it kept with a chance, at least one."""

    kind: ClassVar[Literal["text", "picture"]] = "text"

    min_share: float = Field(
        0.5, gt=0, le=1, description="shortest span as a share of the words; shorter ones say less"
    )
    max_share: float = Field(1.0, gt=0, le=1, description="longest span as a share of the words")
    deletion: float = Field(0.1, ge=0, lt=1, description="chance that a word of the span is left out")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_share > self.max_share:
            raise ValueError(f"min_share {self.min_share} is more than max_share {self.max_share}")
        return self

    def views(self, items: Sequence[str], draws: Sequence[np.random.Generator]) -> list[str]:
        """One view of each text; one of a single word is that word."""
        return [self._view(text.split(), draw) for text, draw in zip(items, draws, strict=True)]

    def _view(self, words: list[str], draw: np.random.Generator) -> str:
        share, place, *_ = draw.random(2)
        length = max(1, round(len(words) * (self.min_share + (self.max_share - self.min_share) * share)))
        start = int((len(words) - length + 1) * place)
        span = words[start : start + length]
        kept = [word for word, chance in zip(span, draw.random(len(span)), strict=True) if chance >= self.deletion]
        return " ".join(kept or span)
