"""NT-Xent: each of the 2N views of a batch finds its other view among all the rest.

Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations" (SimCLR), 2020, equation 1 and
algorithm 1. Mined negatives, which the paper does not have, join the other views as negatives of every view.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stages.losses._loss import Loss

if TYPE_CHECKING:
    from torch import nn


class NtXent(Loss):
    """The mean over all 2N views of −log softmax at the other view: cosines over the temperature, 2N − 2 views as negatives."""

    temperature: float = Field(
        0.5, gt=0, allow_inf_nan=False, description="divides the cosines; lower presses harder on the nearest views"
    )
    hard_negatives: Literal["shared", "own"] = Field(
        "shared",
        description="a row's mined negatives are negatives of all views, or of its own two only, which leaves fewer in a batch",
    )

    def module(self) -> nn.Module:
        """The loss; it has nothing to learn."""
        from stages.losses._infonce import InBatchInfonce
        from stages.losses._temperature import Temperature

        return InBatchInfonce(
            (("query_to_document", "query_to_query"), ("document_to_query", "document_to_document")),
            Temperature(self.temperature),
            shared=self.hard_negatives == "shared",
            mutual=True,
        )
