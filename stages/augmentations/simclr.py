"""SimCLR's views of a picture: a random part of it, turned round, in other colours, grey, blurred.

Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", 2020, appendix A. Pictures of a batch
differ in size, so the part is cut out and brought to one size by Pillow; the rest is kornia's, a batch at a time. The four
changes of colour come in one order, brightness, contrast, saturation, hue, where the paper shuffles them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from stages.registry import Member

if TYPE_CHECKING:
    from torch import Tensor

_RATIO = (3 / 4, 4 / 3)  # width over height of the part


class Simclr(Member):
    """Each change with its chance; pictures of few colours, such as icons, want less of colour and more of the part."""

    kind: ClassVar[Literal["text", "picture"]] = "picture"

    size: int = Field(
        64, ge=8, description="pixels of a view's side; time grows with its square. The encoder's own size is best"
    )
    crop: float = Field(0.08, gt=0, le=1, description="smallest part as a share of the area; 1 takes the whole picture")
    flip: float = Field(0.5, ge=0, le=1, description="chance of left and right changing places")
    jitter: float = Field(0.8, ge=0, le=1, description="chance of a change of colours")
    strength: float = Field(
        1.0,
        ge=0,
        le=1.25,
        description="of that change: brightness, contrast and saturation by ±0.8 of it, hue by ±0.2 of a turn",
    )
    grey: float = Field(0.2, ge=0, le=1, description="chance of shades of grey alone")
    blur: float = Field(0.5, ge=0, le=1, description="chance of a Gaussian blur with σ from 0.1 to 2 pixels")

    def views(self, items: Sequence[Any], draws: Sequence[np.random.Generator]) -> list[Tensor]:
        """One view of each picture: uint8 (3, size, size)."""
        import torch

        numbers = np.array(
            [draw.random(13) for draw in draws]
        )  # (n, 13): always as many, so that each change has its own
        parts = [self._part(item, chance) for item, chance in zip(items, numbers[:, :4], strict=True)]
        flipped = numbers[:, 4] < self.flip
        values = np.stack([part[:, ::-1] if turned else part for part, turned in zip(parts, flipped, strict=True)])
        pixels = torch.from_numpy(values).permute(0, 3, 1, 2).float() / 255  # (n, 3, size, size)
        pixels = self._coloured(pixels, torch.from_numpy(numbers[:, 5:11]).float())
        pixels = self._blurred(pixels, torch.from_numpy(numbers[:, 11:]).float())
        return list((pixels * 255).round().clamp(0, 255).to(torch.uint8))

    def _part(self, picture: Any, chance: np.ndarray) -> np.ndarray:
        """A part of the picture at the size of a view: uint8 (size, size, 3)."""
        from PIL import Image

        width, height = picture.size
        area = width * height * (self.crop + (1 - self.crop) * chance[0])
        ratio = math.exp(math.log(_RATIO[0]) + (math.log(_RATIO[1]) - math.log(_RATIO[0])) * chance[1])
        w, h = min(math.sqrt(area * ratio), width), min(math.sqrt(area / ratio), height)
        if self.crop == 1:
            w, h = width, height
        left, top = (width - w) * chance[2], (height - h) * chance[3]
        box = (left, top, min(left + w, width), min(top + h, height))
        return np.asarray(picture.resize((self.size, self.size), Image.Resampling.BICUBIC, box=box))

    def _coloured(self, pixels: Tensor, chance: Tensor) -> Tensor:
        """Jitter and grey; chance is (n, 6)."""
        import torch
        from kornia.color import rgb_to_grayscale
        from kornia.enhance import (
            adjust_brightness_accumulative,
            adjust_contrast_with_mean_subtraction,
            adjust_hue,
            adjust_saturation_with_gray_subtraction,
        )

        changed = (chance[:, 0] < self.jitter).nonzero().flatten()
        if len(changed) and self.strength:
            reach = 0.8 * self.strength
            low = max(0.0, 1 - reach)
            factors = low + (1 + reach - low) * chance[changed, 1:4]
            some = adjust_brightness_accumulative(pixels[changed], factors[:, 0])
            some = adjust_contrast_with_mean_subtraction(some, factors[:, 1])
            some = adjust_saturation_with_gray_subtraction(some, factors[:, 2])
            some = adjust_hue(some, (2 * chance[changed, 4] - 1) * 0.2 * self.strength * 2 * math.pi)
            pixels = pixels.index_copy(0, changed, some)
        grey = (chance[:, 5] < self.grey).view(-1, 1, 1, 1)
        return torch.where(grey, rgb_to_grayscale(pixels), pixels)

    def _blurred(self, pixels: Tensor, chance: Tensor) -> Tensor:
        """Blur; chance is (n, 2)."""
        from kornia.filters import gaussian_blur2d

        changed = (chance[:, 0] < self.blur).nonzero().flatten()
        if not len(changed):
            return pixels
        sigma = 0.1 + 1.9 * chance[changed, 1:]
        width = max(3, self.size // 10 | 1)  # a tenth of the side, odd
        return pixels.index_copy(0, changed, gaussian_blur2d(pixels[changed], (width, width), sigma.expand(-1, 2)))
