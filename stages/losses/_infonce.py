"""InfoNCE over the pairs of a batch. Importing this file imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.losses._directions import Pairs, cosines, hard_negatives, pairs
from stages.losses._guide import Suspicion
from stages.losses._temperature import Temperature
from stages.objectives import Batch, Outcome

_Block = tuple[Tensor, Tensor | None]  # logits (B, n), and the column of each row's own pair (B,) where there is one


class InBatchInfonce(nn.Module):
    """Cross-entropy of each row's own pair against its negatives in the chosen directions."""

    def __init__(
        self,
        groups: Sequence[tuple[str, ...]],
        temperature: nn.Module | None = None,
        *,
        shared: bool = True,
        mutual: bool = False,
        hardness: float = 0.0,
        weighted: str = "all",
        suspicion: Suspicion | None = None,
    ) -> None:
        """One partition function over the directions of each group; `shared`: hard negatives are those of all rows.

        `mutual`: a row's hard negatives are negatives of its positive too, where documents are held against documents.
        """
        super().__init__()
        self.groups, self.temperature = groups, temperature or Temperature(0.05)
        self.shared, self.mutual = shared, mutual
        self.hardness, self.weighted, self.suspicion = hardness, weighted, suspicion

    def forward(self, batch: Batch) -> Outcome:
        """The mean loss over the rows, and the share of all directions' negatives that is masked.

        With unit vectors, temperature t, row i's own pair with cosine s_i, and the cosines c_ij of what is left of its
        negatives N(i) in the chosen directions, each with the weight w_ij = exp(β c_ij) or 1, which has no gradient:

            loss = -1/B Σ_i log( exp(s_i / t) / (own(i) + Σ_{j in N(i)} w_ij exp(c_ij / t)) )

        own(i) is exp(s_i / t) once for query_to_document and once for document_to_query, as in GTE; once where neither
        is chosen. The mean of one such loss for each group of directions.
        """
        with torch.autocast(batch.queries.device.type, enabled=False):
            precision = torch.promote_types(batch.queries.dtype, torch.float32)
            queries = functional.normalize(batch.queries.to(precision), dim=-1)  # (B, d)
            documents = functional.normalize(batch.documents.to(precision), dim=-1)  # (M, d)
            own = self.temperature((queries * documents[batch.positives]).sum(dim=1, keepdim=True))  # (B, 1)
            losses: list[Tensor] = []
            masked = count = torch.zeros((), dtype=torch.float64, device=queries.device)
            for group in self.groups:
                blocks: list[_Block] = []
                for direction in group:
                    compared = pairs(direction, batch, shared=self.shared, mutual=self.mutual)
                    dropped = compared.relevant
                    if self.suspicion is not None:
                        dropped = dropped | self.suspicion.suspects(direction, batch)
                    found = cosines(direction, queries, documents, batch.positives)
                    blocks.append((self._logits(found, compared, dropped, direction, batch), compared.own))
                    masked = masked + (compared.negatives & dropped).count_nonzero()
                    count = count + compared.negatives.count_nonzero()
                losses.append(_cross_entropy(blocks, own))
            loss = losses[0] if len(losses) == 1 else torch.stack(losses).mean()
        return Outcome(loss, masked / count.clamp(min=1))

    def _logits(self, found: Tensor, compared: Pairs, dropped: Tensor, direction: str, batch: Batch) -> Tensor:
        """Cosines (B, n) over the temperature, weighted by hardness, without what is no negative: float (B, n)."""
        kept = compared.negatives & ~dropped
        logits: Tensor = self.temperature(found)
        if self.hardness:
            heavy = kept
            if self.weighted != "all":
                hard = hard_negatives(batch) if direction == "query_to_document" else torch.zeros_like(kept)
                heavy = kept & hard if self.weighted == "hard" else kept & ~hard
            logits = logits + (self.hardness * found.detach()).masked_fill(~heavy, 0)
        if compared.own is not None:
            kept = kept.scatter(1, compared.own.unsqueeze(1), True)
        return logits.masked_fill(~kept, -torch.inf)


def _cross_entropy(blocks: list[_Block], own: Tensor) -> Tensor:
    """Of the own pair among all columns. Its logits `own` (B, 1) come in front where no block holds the pair."""
    holders = [(block, place) for block, place in blocks if place is not None]
    others = [block for block, place in blocks if place is None]
    first, target = holders[0] if holders else (own, torch.zeros(len(own), dtype=torch.int64, device=own.device))
    columns = [first, *(block for block, _ in holders[1:]), *others]
    return functional.cross_entropy(columns[0] if len(columns) == 1 else torch.cat(columns, dim=1), target)
