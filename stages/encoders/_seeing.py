"""A sentence-transformers model in memory that takes pictures. Importing this file imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from stages.encoders._loaded import Loaded, shortened
from stages.errors import ConfigError, ResourceError
from stages.imaging import pixels, squared
from stages.workers import Workers

CPU_PICTURES, GPU_PICTURES = 32, 256
"""Pictures a batch."""


class Seeing(Loaded):
    """Encodes pictures, which are decoded in processes beside this one, and texts where the model has a tower for them."""

    def __init__(self, model: Any, **how: Any) -> None:
        super().__init__(model, **how)
        self._workers = Workers()
        size = getattr(model[0], "size", None)  # of our own towers; others scale by themselves
        self._decode: Callable[[bytes], np.ndarray] = pixels if size is None else partial(squared, size=size)
        self._batch = CPU_PICTURES if self.device.type == "cpu" else GPU_PICTURES

    def _full_dimensions(self) -> int:
        known = self.model.get_embedding_dimension()
        if known is not None:
            return int(known)
        blank = np.full((32, 32, 3), 255, dtype=np.uint8)
        return int(self._library([blank] if self.model.supports("image") else ["a"], "", "document").shape[1])

    def encode(self, texts: Sequence[str], role: str, *args: Any, **kwargs: Any) -> np.ndarray:
        """As `Loaded.encode`. Raises ConfigError for a model that takes pictures alone."""
        if not self.model.supports("text"):
            raise ConfigError(
                "the model takes pictures and no texts", try_="a direction in which no text is searched for"
            )
        return super().encode(texts, role, *args, **kwargs)

    def encode_pictures(self, images: Sequence[bytes], role: str) -> np.ndarray:
        """Embeddings of pictures in their order: float32 (n, d). Raises ConfigError for a model that takes texts alone."""
        if not self.model.supports("image"):
            raise ConfigError("the model takes texts and no pictures", try_="a model of images and texts, such as CLIP")
        vectors = np.empty((len(images), self.dimensions), dtype=np.float32)
        done = 0
        held: list[np.ndarray] = []
        for picture in self._decoded(images):
            held.append(picture)
            if len(held) == self._batch:
                vectors[done : done + len(held)] = self._vectors(held, role)
                done, held = done + len(held), []
        if held:
            vectors[done:] = self._vectors(held, role)
        return vectors

    def _decoded(self, images: Sequence[bytes]) -> Iterator[np.ndarray]:
        return (picture for _, picture in self._workers.beside(images, bytes, self._decode))

    def _vectors(self, pictures: list[np.ndarray], role: str) -> np.ndarray:
        """Of a batch, in halves where it does not fit in memory."""
        try:
            found = np.asarray(self._library(self._inputs(pictures), "", role).cpu().numpy())
            return found if self._kept is None else shortened(found, self._kept, self.normalise)
        except torch.OutOfMemoryError:
            pass
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(pictures) == 1:
            raise ResourceError(
                "one picture alone does not fit in the device's memory",
                where=f"{pictures[0].shape[1]} × {pictures[0].shape[0]} pixels",
                try_="smaller pictures, precision = bf16, or another device",
            )
        self.counts["halved"] += 1
        middle = len(pictures) // 2
        return np.concatenate([self._vectors(half, role) for half in (pictures[:middle], pictures[middle:])])

    def _inputs(self, pictures: list[np.ndarray]) -> list[Any]:
        from PIL import Image

        if isinstance(self._decode, partial):
            return [torch.from_numpy(np.array(one)).permute(2, 0, 1) for one in pictures]
        return [Image.fromarray(one) for one in pictures]
