"""What the kinds of teachers share."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from stages.registry import Member
from stages.teaching import Scored


class Labelled(Member):
    """A teacher whose scores have a name."""

    label: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][\w-]*$",
        description="what its scores are called; none is the kind's name. Two teachers of one kind need labels",
    )

    @property
    def title(self) -> str:
        """What its scores are called."""
        return self.label or self.name


def activate(logits: np.ndarray, activation: str) -> np.ndarray:
    """Scores float64 (n,) of logits (n,): `sigmoid` is 1 / (1 + e^-x), 0 to 1; `none` the logits themselves.

    In float64, so that clear cases do not all become 1.
    """
    values = logits.astype(np.float64)
    return values if activation == "none" else np.exp(-np.logaddexp(0.0, -values))


def scored(logits: np.ndarray, truncated: list[bool], activation: str) -> Scored:
    """Logits float32 (n,) as scores."""
    return Scored(activate(logits, activation), np.array(truncated, dtype=bool))
