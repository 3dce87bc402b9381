"""What is compared with what in a batch. Importing this file imports torch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.objectives import Batch


@dataclass(frozen=True)
class Pairs:
    """The n columns that one direction holds against each of the B rows."""

    negatives: Tensor
    """True where the column may be the row's negative, whatever is known of it, bool (B, n)."""
    relevant: Tensor
    """True where the column is known to belong with the row, bool (B, n)."""
    own: Tensor | None
    """The column of the row's own pair, int64 (B,); None where the direction does not hold it."""


def cosines(direction: str, queries: Tensor, documents: Tensor, positives: Tensor) -> Tensor:
    """From unit vectors (B, d) and (M, d): float (B, M) to documents, (B, B) to queries."""
    rows, _, columns = direction.partition("_to_")
    left = queries if rows == "query" else documents[positives]
    right = queries if columns == "query" else documents
    return left @ right.T


def pairs(direction: str, batch: Batch, *, shared: bool, mutual: bool = False) -> Pairs:
    """The pairs of a direction; without `shared` no row's hard negatives are held against another row.

    With `mutual` those of a row are held against its positive as well as against its query: both are views of one thing.

    With the query q_i, its positive p_i and what is known in the batch, these are no negatives:

        query_to_document       d_j that is relevant to q_i
        document_to_query       q_j that p_i is relevant to
        query_to_query          q_j that p_i is relevant to, or whose p_j is relevant to q_i
        document_to_document    d_j that is relevant to q_i, or that is p_k of a q_k that p_i is relevant to

    In the last two a row is never held against itself, nor, unless `mutual`, p_i against the negatives of its own row.
    """
    own, known = batch.positives, batch.known
    rows = torch.arange(len(own), device=own.device)
    among = known[:, own]  # (B, B): [i, j] says that p_j is relevant to q_i
    if direction in {"document_to_query", "query_to_query"}:
        negatives = ~torch.eye(len(own), dtype=torch.bool, device=own.device)
        if direction == "document_to_query":
            return Pairs(negatives, among.T, rows)
        return Pairs(negatives, among | among.T, None)
    hard = hard_negatives(batch) if direction == "document_to_document" or not shared else None  # (B, M)
    negatives = torch.ones_like(known).scatter(1, own.unsqueeze(1), False)
    if not shared and hard is not None:
        negatives &= are_positives(batch) | hard
    if direction == "query_to_document":
        return Pairs(negatives, known, own)
    relevant = known.clone()
    relevant[:, own] |= among.T
    return Pairs(negatives if hard is None or mutual else negatives & ~hard, relevant, None)


def hard_negatives(batch: Batch) -> Tensor:
    """True where the document is a negative that the row itself brought, bool (B, M)."""
    rows = torch.arange(len(batch.positives), device=batch.owners.device)
    return (batch.owners == rows.unsqueeze(1)) & ~are_positives(batch)


def are_positives(batch: Batch) -> Tensor:
    """True where the document is some row's own positive, bool (M,)."""
    return torch.zeros_like(batch.owners, dtype=torch.bool).scatter(0, batch.positives, True)
