"""What frozen towers give for the texts and pictures that are trained on: computed once, before the first step.

A tower that keeps its weights and draws no random numbers gives the same in every epoch. What is trained behind it, such as a
projection, is fed from a file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.augmenting import Augmentation
from stages.float32 import whole_float32
from stages.training.collator import Collator, Features, Item, Texts

_BLOCK = 512  # texts or pictures that are encoded at once
_KINDS = {"vision": "picture", "text": "text"}


def frozen(module: Any, augmentations: Sequence[Augmentation]) -> list[str]:
    """The towers of a model that give the same for the same: those in its `freeze`, and views are another picture each time."""
    changing = {recipe.kind for recipe in augmentations}
    return [name for name in getattr(module[0], "freeze", ()) if _KINDS[name] not in changing]


def remember(collator: Collator, towers: Sequence[str], folder: Path, bf16: bool, log: Callable[[str], None]) -> None:
    """Gives the collator's queries and documents what these towers make of them. The model is as it was afterwards."""
    for tower in towers:
        sides = [(side, *side.sameness(tower == "vision")) for side in (collator.queries, collator.documents)]
        number: dict[Any, int] = {}
        firsts: list[tuple[Texts, int]] = []  # where each different text or picture stands first
        places = [np.full(len(side.rows), -1, dtype=np.int64) for side, _, _ in sides]
        for (side, inside, keys), found in zip(sides, places, strict=True):
            for place, key in zip(inside.tolist(), keys, strict=True):
                if key not in number:
                    number[key] = len(firsts)
                    firsts.append((side, side.rows[place]))
                found[place] = number[key]
        if not firsts:
            continue
        log(f"the frozen {tower} tower sees {len(firsts)} {_KINDS[tower]}s, once")
        file = folder / f"{tower}_features.npy"
        at_limit = _store(collator, firsts, file, bf16)
        for (side, _, _), found in zip(sides, places, strict=True):
            side.features.append(Features(tower, file, found, at_limit))


def _store(collator: Collator, firsts: Sequence[tuple[Texts, int]], file: Path, bf16: bool) -> np.ndarray:
    """Writes what the model's tower gives, float32 (f, d); which reach the limit of tokens, bool (f,)."""
    stored: np.ndarray | None = None
    limits = np.zeros(len(firsts), dtype=bool)
    for start in range(0, len(firsts), _BLOCK):
        items: list[Item] = []
        prompts: list[str] = []
        for side, row in firsts[start : start + _BLOCK]:
            item, prompt = side.of(np.array([row]))
            items, prompts = items + item, prompts + prompt
        values, at_limit = _encoded(collator, items, prompts, bf16)
        if stored is None:
            stored = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(len(firsts), values.shape[1]))
        stored[start : start + len(items)] = values
        limits[start : start + len(items)] = at_limit
    del stored  # what was written goes to the file
    return limits


@torch.inference_mode()
def _encoded(collator: Collator, items: list[Item], prompts: list[str], bf16: bool) -> tuple[np.ndarray, np.ndarray]:
    model, tokens = collator.module, collator.tokens("document", items, prompts)
    found, limits = [], []
    with torch.autocast(model.device.type, dtype=torch.bfloat16) if bf16 else whole_float32():
        for features in tokens["passes"]:
            on_device = {name: value.to(model.device) for name, value in features.items()}
            values = model[0].tower(on_device)
            at_limit = collator.at_limit(features)
            found.append(values.float().cpu())
            limits.append(at_limit if len(at_limit) else torch.zeros(len(values), dtype=torch.bool))
    order = tokens["places"]
    return torch.cat(found)[order].numpy(), torch.cat(limits)[order].numpy()
