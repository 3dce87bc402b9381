"""A loss over shortened embeddings. Importing this file imports torch."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from stages.errors import ConfigError
from stages.objectives import Batch, Outcome


class MatryoshkaModule(nn.Module):
    """The weighted sum of a loss over the first dimensions of the embeddings, and over all of them."""

    def __init__(self, inner: nn.Module, dimensions: tuple[int, ...], weights: tuple[float, ...]) -> None:
        super().__init__()
        self.inner, self.weight_of = inner, dict(zip(dimensions, weights, strict=True))

    def forward(self, batch: Batch) -> Outcome:
        """The sum, and the share that is masked at full length. Raises ConfigError when a dimension is not there."""
        full = batch.queries.shape[1]
        if max(self.weight_of) > full:
            raise ConfigError(
                "a Matryoshka dimension is more than the model has",
                where="losses.matryoshka.dimensions",
                got=f"{max(self.weight_of)} of {full}",
                try_=f"dimensions up to {full}",
            )
        whole: Outcome = self.inner(batch)
        loss = self.weight_of.get(full, 1.0) * whole.loss
        for size, weight in self.weight_of.items():
            if size != full:
                short = replace(batch, queries=_cut(batch.queries, size), documents=_cut(batch.documents, size))
                loss = loss + weight * self.inner(short).loss
        return Outcome(loss, whole.masked)


def _cut(vectors: Tensor, size: int) -> Tensor:
    """The first `size` dimensions of vectors (n, d), stretched to the length that each has in full: float (n, size)."""
    with torch.autocast(vectors.device.type, enabled=False):
        vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
        short: Tensor = nn.functional.normalize(vectors[:, :size], dim=1) * vectors.norm(dim=1, keepdim=True)
    return short
