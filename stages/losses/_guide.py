"""What a guide takes for a false negative. Importing this file imports torch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from stages.errors import ConfigError
from stages.losses._directions import cosines
from stages.objectives import Batch


@dataclass(frozen=True)
class Suspicion:
    """A pair is suspect when the guide puts it above the row's own pair, less a margin."""

    margin: float
    relative: bool

    def suspects(self, direction: str, batch: Batch) -> Tensor:
        """True where the guide's cosine is above own − margin, or own − |own| · margin: bool (B, n).

        Raises ConfigError when the batch has no guide's embeddings.
        """
        if batch.guide_queries is None or batch.guide_documents is None:
            raise ConfigError("a guided loss has no guide", where="train.guide", try_="[train.guide] with an encoder")
        queries = functional.normalize(batch.guide_queries, dim=-1)
        documents = functional.normalize(batch.guide_documents, dim=-1)
        own = (queries * documents[batch.positives]).sum(dim=1, keepdim=True)  # (B, 1)
        limit = own - (own.abs() * self.margin if self.relative else self.margin)
        return cosines(direction, queries, documents, batch.positives) > limit
