"""What the losses share."""

from __future__ import annotations

from stages.objectives import Wants
from stages.registry import Member


class Loss(Member):
    """A loss that needs nothing but embeddings and what is known of their pairs."""

    @property
    def wants(self) -> Wants:
        return Wants()
