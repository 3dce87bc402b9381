"""A model of pictures and texts, such as CLIP, that sentence-transformers or transformers loads"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from stages.encoders.sentence_transformers import SentenceTransformers

if TYPE_CHECKING:
    from stages.encoders._seeing import Seeing


class Clip(SentenceTransformers):
    """Encodes pictures and texts: a hub id or a folder of a CLIP-like model, of a vision model, or a checkpoint of two_tower.

    Pictures go through the model's own processor. torchvision is not needed.
    """

    @property
    def encodes(self) -> frozenset[str]:
        """What the model takes; of a vision model with pictures alone it is known once it is loaded."""
        towers = self._folder() / "towers.json"
        if towers.is_file() and json.loads(towers.read_text(encoding="utf-8"))["text_config"] is None:
            return frozenset({"picture"})
        return frozenset({"text", "picture"})

    def load(self, device: str, precision: str) -> Seeing:
        """The model on `device`, ready to encode; `precision` is fp32 or bf16."""
        from stages.encoders._seeing import Seeing

        return Seeing(
            self.module(device), device=device, precision=precision, prompts=self.prompts, normalise=self.normalise,
            dimensions=self.dimensions,
        )  # fmt: skip
