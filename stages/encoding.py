"""What a stage that encodes texts or pictures asks of an encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from stages.errors import ConfigError

TEXTS = frozenset({"text"})


class LoadedEncoder(Protocol):
    """A model in memory. `counts` grows with every call: truncated, repeated, halved."""

    counts: dict[str, int]

    @property
    def dimensions(self) -> int: ...

    @property
    def max_tokens(self) -> int | None: ...

    def encode(
        self,
        texts: Sequence[str],
        role: str,
        prompts: Sequence[str | None] | None = None,
        *,
        batch_tokens: int | None = None,
        log: Callable[[str], None] | None = None,
    ) -> np.ndarray:
        """Embeddings float32 (n, d); `role` is query or document, `prompts` gives a text its own prompt."""
        ...


class PictureEncoder(LoadedEncoder, Protocol):
    """A model in memory that takes pictures, and texts where its encoder says so."""

    def encode_pictures(self, images: Sequence[bytes], role: str) -> np.ndarray:
        """Embeddings float32 (n, d) of encoded pictures, which were proved at ingest; `role` is query or document."""
        ...


class Prepared(Protocol):
    """Texts that are ready to be embedded."""

    @property
    def truncated(self) -> np.ndarray:
        """Which of the texts are longer than the model reads: bool (n,)."""
        ...


@runtime_checkable
class Preparing(Protocol):
    """A loaded encoder that tokenizes beside the computing, and says what else its vectors hang on."""

    notes: list[str]
    """What a person should know about how it computes."""

    @property
    def alone(self) -> bool:
        """Whether a text's vector is the same to the bit whatever else is encoded with it."""
        ...

    @property
    def arithmetic(self) -> str: ...

    def prepare(self, texts: Sequence[str], role: str, prompts: Sequence[str | None] | None = None) -> Prepared: ...

    def embed(
        self, prepared: Any, *, batch_tokens: int | None = None, log: Callable[[str], None] | None = None
    ) -> np.ndarray:
        """Embeddings float32 (n, d) of what `prepare` gave."""
        ...

    def exact(self, texts: Sequence[str], role: str, prompts: Sequence[str | None] | None = None) -> np.ndarray:
        """What the model gives in float32, for a few texts: float32 (n, d)."""
        ...


class Encoder(Protocol):
    """A kind of encoder. One with a class variable `encodes` says what of {"text", "picture"} it takes; others take texts."""

    def fingerprint(self) -> str:
        """A hash of everything that can change an embedding. Needs no torch."""
        ...

    def load(self, device: str, precision: str) -> LoadedEncoder: ...

    def with_checkpoint(self, path: Path) -> Encoder:
        """The same encoder with the weights that a trainer saved."""
        ...

    def notes(self) -> list[str]:
        """What a person should know about this encoder's configuration."""
        ...


def refuse_kinds(encoder: object, found: frozenset[str]) -> None:
    """Raises ConfigError when there are texts or pictures that the encoder does not take."""
    if beyond := found - getattr(encoder, "encodes", TEXTS):
        name = getattr(encoder, "name", type(encoder).__name__)
        raise ConfigError(
            f"there are {' and '.join(sorted(beyond))}s to encode, which the encoder {name!r} does not take",
            try_="an encoder for these: clip and two_tower take texts and pictures",
        )


def resolve(precision: str, device: str) -> str:
    """The arithmetic that is used: fp32 or bf16."""
    if precision != "auto":
        return precision
    return "bf16" if device.startswith("cuda") else "fp32"
