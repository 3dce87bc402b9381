"""The model that is trained: loading it, saving it with a card, and training an adapter in its place."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from sentence_transformers import SentenceTransformer
from torch import nn
from transformers import set_seed
from transformers.utils import logging as transformers_logging

from stages.errors import ConfigError, ResourceError


class Loads(Protocol):
    def module(self, device: str) -> SentenceTransformer: ...


def load(encoder: Loads, device: str, seed: int) -> SentenceTransformer:
    """The encoder's module. Weights that its files lack are drawn from the seed."""
    set_seed(seed)
    with _quiet():
        return encoder.module(device)


def save(module: SentenceTransformer, card: str, path: Path) -> None:
    """Writes the folder that sentence-transformers loads, with our card: the library's own would hold dates and durations."""
    with _quiet():
        module.save_pretrained(str(path), create_model_card=False, safe_serialization=True)
    (path / "README.md").write_text(card, encoding="utf-8")


def refuse_unnamed(module: nn.Module, patterns: Iterable[str]) -> None:
    """Raises ConfigError for a pattern that is no regular expression or is found in no name of a parameter that is trained."""
    names = [name for name, value in module.named_parameters() if value.requires_grad]
    for pattern in patterns:
        try:
            found = any(re.search(pattern, name) for name in names)
        except re.error as error:
            raise ConfigError(
                "no regular expression", where="train.learning_rates", got=f"{pattern!r}: {error}"
            ) from None
        if not found:
            raise ConfigError(
                "no parameter that is trained has such a name", where="train.learning_rates", got=repr(pattern),
                try_=f"a part of a name, such as {names[0]!r}" if names else "a model with something to train",
            )  # fmt: skip


def rows_of_a_pass(
    module: SentenceTransformer, asked: int | None, device: str, *, cached: bool, pictures: bool = False
) -> int:
    """Texts or pictures of a pass. Static embeddings have no padding to save: all at once, but where a pass is to bound the memory."""
    if pictures:
        return asked or (64 if device == "cpu" else 256)
    if "attention_mask" not in module.preprocess(["probe"]):
        return asked if asked and cached else sys.maxsize
    return asked or (16 if device == "cpu" else 256)


def adapt(module: SentenceTransformer, rank: int, alpha: float, dropout: float, targets: Sequence[str] | None) -> None:
    """Puts low-rank adapters into the model and freezes all but them. The module is changed in place.

    Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, section 4.1.
    Raises ConfigError where the model has no layers for them, ResourceError where peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ResourceError("LoRA needs the package peft", try_="pip install peft, or remove train.lora") from None
    inner = getattr(module, "transformers_model", None)
    if inner is None:
        raise ConfigError(
            "LoRA needs a transformer, and this model has none", where="train.lora",
            got=" → ".join(type(part).__name__ for part in module), try_="remove train.lora: all weights are trained",
        )  # fmt: skip
    wanted = list(targets) if targets is not None else None
    settings: dict[str, Any] = {"r": rank, "lora_alpha": alpha, "lora_dropout": dropout, "target_modules": wanted}
    try:
        inject_adapter_in_model(LoraConfig(**settings), inner)
    except ValueError as error:
        linear = {name.rpartition(".")[2] for name, part in inner.named_modules() if isinstance(part, nn.Linear)}
        raise ConfigError(
            "LoRA finds no layers to adapt in this model", where="train.lora.target_modules",
            got=", ".join(wanted) if wanted else str(error).splitlines()[0], try_=f"some of: {', '.join(sorted(linear))}",
        ) from None  # fmt: skip
    for name, weights in module.named_parameters():
        weights.requires_grad_("lora_" in name)


def merge(module: SentenceTransformer) -> None:
    """Adds the adapters, where there are any, to the layers that they adapt, so that the model is a plain one again."""
    inner = getattr(module, "transformers_model", None)
    if inner is None or not hasattr(inner, "peft_config"):
        return
    for name, part in list(inner.named_modules()):
        if hasattr(part, "lora_A"):
            part.merge(safe_merge=True)
            place, _, own = name.rpartition(".")
            setattr(inner.get_submodule(place), own, part.get_base_layer())
    del inner.peft_config


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's own progress bars."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
