"""A projection head: embeddings go through it on their way to the loss, and the model that is saved does not have it.

Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations" (SimCLR), 2020, sections 2.1 and 4.2: what
stands before the head is the better representation. It is trained and kept in checkpoints like what a loss learns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from stages.objectives import Batch, Objective, Outcome, Wants


@dataclass(frozen=True)
class Projected:
    """A loss over projected embeddings."""

    inner: Objective
    features: int
    hidden: int
    dimensions: int
    seed: int

    @property
    def wants(self) -> Wants:
        return self.inner.wants

    def module(self) -> nn.Module:
        """The loss with its head, whose weights are drawn from the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            head = nn.Sequential(
                nn.Linear(self.features, self.hidden), nn.ReLU(), nn.Linear(self.hidden, self.dimensions)
            )
        return _Projected(self.inner.module(), head)


class _Projected(nn.Module):
    def __init__(self, inner: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.inner, self.head = inner, head

    def forward(self, batch: Batch) -> Outcome:
        queries, documents = (self.head(values.to(_kind(self.head))) for values in (batch.queries, batch.documents))
        outcome: Outcome = self.inner(replace(batch, queries=queries, documents=documents))
        return outcome


def _kind(head: nn.Module) -> torch.dtype:
    return next(head.parameters()).dtype
