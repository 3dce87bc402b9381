"""InfoNCE whose false negatives are masked by a guide.

Solatorio, "GISTEmbed: Guided In-sample Selection of Training Negatives for Text Embedding Fine-tuning", 2024, section 3:
what the guide finds more similar than the row's own pair is no negative. The margins are those of sentence-transformers,
after Moreira et al., "NV-Retriever", 2024.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stages.losses.infonce import Direction, Infonce
from stages.objectives import Wants

if TYPE_CHECKING:
    from stages.losses._guide import Suspicion


class Guided(Infonce):
    """InfoNCE without the negatives, mined ones too, that `train.guide` finds about as similar as the own positive."""

    directions: tuple[Direction, ...] = Field(
        ("query_to_document", "query_to_query", "document_to_document"),
        description="what is held against what; each costs one more matrix of similarities, and one more of the guide's",
    )
    margin: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="how far below its own pair's the guide's cosine of a negative must lie; more masks more",
    )
    margin_type: Literal["absolute", "relative"] = Field(
        "absolute", description="the margin is a difference of cosines, or a share of the own pair's cosine"
    )

    @property
    def wants(self) -> Wants:
        return Wants(guide=True)

    def _suspicion(self) -> Suspicion:
        from stages.losses._guide import Suspicion

        return Suspicion(self.margin, self.margin_type == "relative")
