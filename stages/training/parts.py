"""Parts of what a user can set about training, and what training asks of the families that it uses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from pydantic import Field

from stages.examples import Pairs
from stages.settings import Settings

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class Encoder(Protocol):
    """What is trained."""

    @property
    def query_prompt(self) -> str: ...

    @property
    def document_prompt(self) -> str: ...

    def module(self, device: str) -> SentenceTransformer:
        """The model with its weights, on the device."""
        ...

    def fingerprint(self) -> str:
        """A hash of weights, tokenizer, pooling and prompts."""
        ...

    def with_checkpoint(self, path: Path) -> Encoder:
        """The same encoder with the weights of a trained model's folder."""
        ...


class Batches(Protocol):
    """A rule that puts the pairs of an epoch into batches, one file in `batches/`."""

    def epoch(self, pairs: Pairs, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
        """The batches of an epoch in order, each of up to `batch_size` places of pairs; every pair is in one of them."""
        ...


class Lora(Settings):
    """Low-rank adapters in place of all weights (Hu et al. 2021). They are merged into the model that is saved."""

    rank: int = Field(16, ge=1, description="of each adapter; more can learn more, for more memory and time")
    alpha: float = Field(32.0, gt=0, description="the adapter's part is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of an adapter's input that is dropped while training")
    target_modules: tuple[str, ...] | None = Field(
        None, description="ends of the names of the layers to adapt; none: those that peft knows for the kind of model"
    )


class Projection(Settings):
    """A head between the embeddings and the loss, of two layers with ReLU, that the saved model is without (SimCLR)."""

    hidden: int = Field(256, ge=1, description="values of the layer between; costs little beside the encoder")
    dimensions: int = Field(
        128, ge=2, description="values that the loss sees; the paper finds no difference from 32 to 2,048"
    )


class EarlyStopping(Settings):
    """Measures nDCG@10 on the split dev while training, ends when nothing is gained any more, and keeps the best weights."""

    evaluate_steps: int = Field(
        100, ge=1, description="optimizer steps between two measurements; each embeds the dev queries and the documents"
    )
    patience: int = Field(
        5, ge=1, description="measurements without a new best after which training ends; more go on longer"
    )
    documents: int | None = Field(
        20_000,
        ge=1,
        description="documents that are searched: the relevant ones and a sample by seed; none: all. Fewer are faster, and "
        "the nDCG is higher than over all of them",
    )
