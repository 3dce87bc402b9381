"""What a loss sees of a training step, and what it gives back: the contract between the trainer and the losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Batch:
    """Embeddings of a step and what is known about their pairs. B rows, M documents: the rows' positives and negatives."""

    queries: Tensor
    """Embeddings of any length, float (B, d)."""
    documents: Tensor
    """Embeddings of any length, float (M, d)."""
    positives: Tensor
    """The place in `documents` of each row's own positive, int64 (B,)."""
    known: Tensor
    """True where a document is known to be relevant to the row's query, bool (B, M). Own positives may be marked too."""
    owners: Tensor
    """The row that each document was brought by, as its positive or as a negative of it, int64 (M,)."""
    scores: Tensor | None = None
    """A teacher's score of each document for the query of the row that brought it, float64 (M,); NaN is not known."""
    guide_queries: Tensor | None = None
    """The guide's embeddings of the queries, float (B, g), without gradient."""
    guide_documents: Tensor | None = None
    """The guide's embeddings of the documents, float (M, g), without gradient."""


class Outcome(NamedTuple):
    """What a loss gives back."""

    loss: Tensor
    """A scalar in float32, or in the embeddings' own precision if that is higher."""
    masked: Tensor
    """The share of the negatives that was masked as known to be relevant, or by a guide: a scalar in float64."""


class Wants(NamedTuple):
    """What a loss needs besides embeddings. What it does not ask for is not in the batch."""

    scores: bool = False
    """A teacher's scores."""
    guide: bool = False
    """A guide's embeddings."""
    teacher: str | None = None
    """The label of the teacher whose scores are wanted; None is the first one."""


class Objective(Protocol):
    """A loss as it is configured."""

    @property
    def wants(self) -> Wants: ...

    def module(self) -> nn.Module:
        """The loss as a module from a `Batch` to an `Outcome`, with the parameters that are learned with the model's."""
        ...
