"""EfficientNet-Lite0, pretrained on ImageNet: 4.65 million parameters that come in a package"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from stages.encoders.clip import Clip
from stages.encoders.two_tower import TwoTower
from stages.registry import Member

if TYPE_CHECKING:
    from stages.encoders._seeing import Seeing


class EfficientnetLite(Member):
    """Encodes pictures as the 1,280 features before the classifier."""

    size: int = Field(64, ge=16, le=1024, description="Side of the square, in pixels. The cost grows with its square.")
    normalise: bool = Field(True, description="scale each vector to length 1, so that scores are cosines")

    encodes: ClassVar[frozenset[str]] = frozenset({"picture"})
    query_prompt: ClassVar[str] = ""
    document_prompt: ClassVar[str] = ""

    @property
    def _towers(self) -> TwoTower:
        return TwoTower(
            vision="efficientnet_lite0", text=None, dimensions=None, size=self.size, normalise=self.normalise
        )  # type: ignore[call-arg]

    def fingerprint(self) -> str:
        """sha256 over the settings and the weights. Needs no torch."""
        return self._towers.fingerprint()

    def load(self, device: str, precision: str) -> Seeing:
        """The model on `device`, ready to encode; `precision` is fp32 or bf16."""
        return self._towers.load(device, precision)

    def module(self, device: str) -> Any:
        """The model as sentence_transformers.SentenceTransformer, in float32, for a trainer."""
        return self._towers.module(device)

    def with_checkpoint(self, path: Path) -> Clip:
        """An encoder with the weights of a folder that a trainer saved."""
        return self._towers.with_checkpoint(path)

    def notes(self) -> list[str]:
        """Nothing."""
        return []
