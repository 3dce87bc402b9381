"""A logistic loss of every pair of a batch. Importing this file imports torch."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from stages.losses._directions import cosines, pairs
from stages.objectives import Batch, Outcome


class PairwiseSigmoid(nn.Module):
    """Every query against every document, without a partition function."""

    def __init__(self, temperature: nn.Module, bias: nn.Module, *, shared: bool) -> None:
        """`shared`: hard negatives are those of all rows."""
        super().__init__()
        self.temperature, self.bias, self.shared = temperature, bias, shared

    def forward(self, batch: Batch) -> Outcome:
        """The sum over all pairs that are not masked, over the rows; and the share of the negatives that is masked."""
        with torch.autocast(batch.queries.device.type, enabled=False):
            precision = torch.promote_types(batch.queries.dtype, torch.float32)
            queries = functional.normalize(batch.queries.to(precision), dim=-1)  # (B, d)
            documents = functional.normalize(batch.documents.to(precision), dim=-1)  # (M, d)
            compared = pairs("query_to_document", batch, shared=self.shared)
            found = cosines("query_to_document", queries, documents, batch.positives)
            logits = self.bias(self.temperature(found))  # (B, M)
            own = torch.zeros_like(compared.negatives).scatter(1, batch.positives.unsqueeze(1), True)
            errors = functional.softplus(torch.where(own, -logits, logits))  # -log σ(z · logit)
            kept = own | (compared.negatives & ~compared.relevant)
            loss = errors.masked_fill(~kept, 0).sum() / len(queries)
            masked = (compared.negatives & compared.relevant).count_nonzero().double()
        return Outcome(loss, masked / compared.negatives.count_nonzero().clamp(min=1))
