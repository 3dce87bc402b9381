"""The pixels themselves, scaled down: what a model of pictures has to beat"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from stages.errors import ConfigError
from stages.imaging import squared
from stages.registry import Member
from stages.workers import Workers


class Pixels(Member):
    """Encodes a picture as its red, green and blue values in a small square, from -1 to 1. There is nothing to train."""

    size: int = Field(
        16, ge=2, le=256, description="Side of the square, in pixels: a vector has three times its square."
    )

    encodes: ClassVar[frozenset[str]] = frozenset({"picture"})

    def fingerprint(self) -> str:
        """The settings: nothing else counts."""
        return f"pixels {self.size}"

    def load(self, device: str, precision: str) -> LoadedPixels:
        """Ready to encode, at either precision."""
        return LoadedPixels(self.size)

    def module(self, device: str) -> Any:
        """Raises ConfigError."""
        raise self._untrained()

    def with_checkpoint(self, path: Path) -> Pixels:
        """Raises ConfigError."""
        raise self._untrained()

    def notes(self) -> list[str]:
        """Nothing."""
        return []

    def _untrained(self) -> ConfigError:
        return ConfigError("pixels have no weights to train", where="encoder", try_="rounds = 0, or another encoder")


class LoadedPixels:
    """Encodes pictures; vectors have length 1."""

    max_tokens = None

    def __init__(self, size: int) -> None:
        self.size, self.dimensions = size, 3 * size * size
        self.counts = {"truncated": 0, "repeated": 0, "halved": 0}
        self._workers = Workers()

    def encode(self, texts: Sequence[str], role: str, *args: Any, **kwargs: Any) -> np.ndarray:
        """Raises ConfigError: a text has no pixels."""
        raise ConfigError("pixels are of pictures, and here are texts", try_="another encoder")

    def encode_pictures(self, images: Sequence[bytes], role: str) -> np.ndarray:
        """Embeddings float32 (n, 3·size²) in their order."""
        decoded = self._workers.beside(images, bytes, partial(squared, size=self.size))
        values = np.stack([picture for _, picture in decoded]).reshape(len(images), -1).astype(np.float32)
        values = values / 127.5 - 1
        return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True).clip(1e-12))
