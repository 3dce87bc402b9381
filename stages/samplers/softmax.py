"""A choice among the hardest, in proportion to the softmax of their scores.

NV-Retriever (arXiv 2407.15831) samples 4 negatives from the top 10. Weight: w = exp(s / temperature) for the `top`
candidates with the highest scores, 0 for the others; drawn without replacement.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from stages.errors import ConfigError
from stages.judging import Pool
from stages.registry import Member
from stages.samplers._choose import draw, place


class Softmax(Member):
    """Draws among the `top` highest scores with weights exp(s / temperature)."""

    top: int = Field(
        10, ge=1, description="candidates a pair that take part, those with the highest scores; less is harder"
    )
    temperature: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="in units of the score; less is harder. Cosines lie so close together that 1 is almost a uniform choice",
    )

    def choose(self, pool: Pool, negatives: int, seed: int) -> np.ndarray:
        if negatives > self.top:
            raise ConfigError(
                "more negatives are wanted than take part in the draw",
                where="sample.sampler",
                got=f"negatives = {negatives}, softmax.top = {self.top}",
                try_=f"top = {negatives} or more",
            )
        takes_part = place(pool, -pool.score, pool.doc_row) < self.top
        return draw(pool, negatives, np.where(takes_part, pool.score / self.temperature, -np.inf), seed)
