"""InfoNCE with in-batch and hard negatives.

van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018, equation 4; the other
rows of a batch as negatives after Henderson et al., "Efficient Natural Language Response Suggestion for Smart Reply",
2017, section 4.4; hard negatives shared among the rows after Karpukhin et al., "Dense Passage Retrieval for Open-Domain
Question Answering", 2020, section 3.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from stages.registry import Member

if TYPE_CHECKING:
    from torch import Tensor


class Infonce(Member):
    """Every document of the batch is a candidate of every query: cross-entropy to the query's own positive."""

    temperature: float = Field(
        0.05,
        gt=0,
        description="divides the cosines, which gives the logits; lower presses harder on the hardest negatives",
    )

    def loss(self, queries: Tensor, documents: Tensor, positives: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """The mean loss over the queries, and the share of their in-batch negatives that is masked.

        With unit vectors q and d, temperature t and the candidates C(i) of query i, all documents but those known to be
        relevant to it and not its own positive p(i):

            loss = -1/B Σ_i log( exp(q_i·d_p(i) / t) / Σ_{j in C(i)} exp(q_i·d_j / t) )

        A negative belongs to no row in particular, so rows may bring different numbers of them.

        Args:
            queries: embeddings of any length, float (B, d).
            documents: embeddings of any length, float (M, d): the rows' positives and everybody's negatives.
            positives: the column in `documents` of each row's own positive, int64 (B,).
            known: true where a document is known to be relevant to the row's query, bool (B, M). Own positives may be
                marked as well.

        Returns:
            The loss, a scalar in float32 or in the embeddings' own precision if that is higher, and the share, a
            scalar in float64, over B · (M - 1) pairs.
        """
        import torch
        from torch.nn import functional

        with torch.autocast(queries.device.type, enabled=False):
            precision = torch.promote_types(queries.dtype, torch.float32)
            anchors = functional.normalize(queries.to(precision), dim=-1)  # (B, d)
            candidates = functional.normalize(documents.to(precision), dim=-1)  # (M, d)
            masked = known.scatter(1, positives.unsqueeze(1), False)  # (B, M)
            logits = (anchors @ candidates.T / self.temperature).masked_fill(masked, -torch.inf)  # (B, M)
            loss = functional.cross_entropy(logits, positives)
        pairs = masked.numel() - masked.shape[0]
        return loss, masked.sum(dtype=torch.float64) / max(pairs, 1)
