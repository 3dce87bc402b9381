"""InfoNCE over the documents of a batch."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from stages.objectives import Batch, Outcome


class InBatchInfonce(nn.Module):
    """Cross-entropy of each query to its own positive among all documents of the batch."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, batch: Batch) -> Outcome:
        """The mean loss over the queries, and the share of their B · (M - 1) in-batch negatives that is masked.

        With unit vectors q and d, temperature t and the candidates C(i) of query i, all documents but those known to be
        relevant to it and not its own positive p(i):

            loss = -1/B Σ_i log( exp(q_i·d_p(i) / t) / Σ_{j in C(i)} exp(q_i·d_j / t) )

        A negative belongs to no row in particular, so rows may bring different numbers of them.
        """
        with torch.autocast(batch.queries.device.type, enabled=False):
            precision = torch.promote_types(batch.queries.dtype, torch.float32)
            anchors = functional.normalize(batch.queries.to(precision), dim=-1)  # (B, d)
            candidates = functional.normalize(batch.documents.to(precision), dim=-1)  # (M, d)
            masked = batch.known.scatter(1, batch.positives.unsqueeze(1), False)  # (B, M)
            logits = (anchors @ candidates.T / self.temperature).masked_fill(masked, -torch.inf)  # (B, M)
            loss = functional.cross_entropy(logits, batch.positives)
        pairs = masked.numel() - masked.shape[0]
        return Outcome(loss, masked.sum(dtype=torch.float64) / max(pairs, 1))
