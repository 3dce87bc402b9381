"""Views of texts and pictures that are made anew for every epoch: the contract between the trainer and the augmentations.

A view is a function of the text or picture, the augmentation, and the numbers drawn for it, which hang on (seed, epoch,
example, place) alone. So the recipe and the seed say all, whatever was in the batch beside it and wherever a run went on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np


class Augmentation(Protocol):
    """A recipe of views, one file in `augmentations/`."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> Literal["text", "picture"]:
        """What it makes views of; the other kind is left as it is."""
        ...

    def views(self, items: Sequence[Any], draws: Sequence[np.random.Generator]) -> list[Any]:
        """One view of each: of texts str, of pictures uint8 tensors (3, h, w) from PIL.Image.Image of mode RGB."""
        ...


def draw(seed: int, epoch: int, example: int, place: int) -> np.random.Generator:
    """The numbers for one view: place 0 is an example's query, 1 its positive, 2 and on its negatives."""
    return np.random.default_rng([seed, epoch, example, place])
