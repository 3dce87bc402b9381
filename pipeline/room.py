"""How much a stage is about to write, and whether the disk has room for it.

An estimate from the rows and bytes that the stage reads, and from its configuration; where the stage has been stored
before, from what it took then. It is meant to be right within a factor of two: a disk that is far too small is told at
once, and one that fills up all the same loses nothing, as `store` promises.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.manifest import Manifest
from stages.errors import HardrockError, StorageError
from stages.weights import PACKAGE, locate

DIMENSIONS = 768
"""Values of a vector before any model has told its own number."""

MODEL_BYTES = 500 << 20
"""Weights of a model that is not here yet. A training holds six times its weights for a moment: two states with optimizer."""

FIXED = 1 << 20
"""What any stage takes besides: manifest, records, logs."""


@dataclass(frozen=True)
class Size:
    """One input as it is stored."""

    rows: int
    bytes: int


Sizes = Mapping[str, Size]


def of(manifest: Manifest, name: str) -> Size:
    """The size of one table, file or folder of a result."""
    stored = manifest.record.tables.get(name) or manifest.record.files.get(name) or ()
    return Size(sum(one.rows or 0 for one in stored), sum(one.bytes for one in stored))


def _ingest(config: Any, sizes: Sizes) -> int:
    place = Path(str(getattr(config.dataset, "path", "")))
    files = [place] if place.is_file() else [p for p in place.rglob("*") if p.is_file()] if place.is_dir() else []
    return sum(path.stat().st_size * (5 if path.suffix == ".gz" else 1) for path in files)


VALUE = {"float32": 4, "float16": 2, "int8": 1}
"""Bytes of a stored value of a vector."""

KEY = 28
"""Bytes beside a vector: its row, its scale, and what was encoded."""


def _embed(config: Any, sizes: Sizes) -> int:
    dimensions = getattr(config.encoder, "dimensions", None) or DIMENSIONS
    return int((sizes["corpus"].rows + sizes["queries"].rows) * (VALUE[config.storage] * dimensions + KEY))


def _mine(config: Any, sizes: Sizes) -> int:
    return sizes["queries"].rows * min(int(config.depth), sizes["corpus"].rows) * 24


def _evaluate(config: Any, sizes: Sizes) -> int:
    return (
        sizes["queries"].rows * min(int(config.depth), sizes["corpus"].rows) * 2 * (24 + 40)
    )  # BM25 beside; a run is text


def _export(config: Any, sizes: Sizes) -> int:
    text = sizes["corpus"].bytes / max(sizes["corpus"].rows, 1) + sizes["queries"].bytes / max(sizes["queries"].rows, 1)
    from stages.export import TEXT_TARGETS

    targets = len(TEXT_TARGETS if config.targets is None else config.targets)
    unpacked = 3 * (sizes["corpus"].bytes + sizes["queries"].bytes)  # while the stage is at work
    pieces = 2  # of what is one file in the end
    return unpacked + (int(sizes["triplets"].rows * 3 * text) * pieces + sizes["pictures"].bytes) * max(targets, 1)


def _train(config: Any, sizes: Sizes) -> int:
    return 6 * (sizes["checkpoint"].bytes if "checkpoint" in sizes else model_bytes(config.encoder.model))


def model_bytes(reference: str) -> int:
    """Bytes of a model's weights, without asking any hub."""
    try:
        place = locate(reference) if reference.startswith(PACKAGE) or Path(reference).exists() else None
    except HardrockError:
        place = None
    if place is None:
        return MODEL_BYTES
    files = [place] if place.is_file() else place.rglob("*.safetensors")
    return sum(path.stat().st_size for path in files)


def model_config(reference: str) -> dict[str, Any]:
    """The config.json of a model that is here; empty where there is none."""
    try:
        found = json.loads((locate(reference) / "config.json").read_bytes())
    except (HardrockError, OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


ESTIMATES: dict[str, Callable[[Any, Sizes], int]] = {
    "ingest": _ingest,
    "embed": _embed,
    "index": lambda config, sizes: sizes["corpus_vectors"].bytes,
    "mine": _mine,
    "teach": lambda config, sizes: sizes["candidates"].rows * 12 * len(config.teachers),
    "judge": lambda config, sizes: sizes["candidates"].rows * 40,
    "deepen": lambda config, sizes: sizes["judged"].bytes,
    "sample": lambda config, sizes: sizes["positives"].rows * config.negatives * 40,
    "export": _export,
    "train": _train,
    "evaluate": _evaluate,
}
"""Bytes by stage, from its configuration and the sizes of its inputs; a stage that is not here takes FIXED alone."""


def estimate(stage: str, config: Any, sizes: Sizes, earlier: Manifest | None) -> int:
    """Bytes that a stage will write, at most roughly. `earlier` is its stored result, of whatever configuration.

    A size that cannot be known, such as that of an input that this version does not name, counts as nothing.
    """
    try:
        guess = ESTIMATES[stage](config, sizes) if stage in ESTIMATES else 0
    except (KeyError, AttributeError, OSError):
        guess = 0
    if earlier is not None:
        read = sum(size.bytes for size in sizes.values())
        before = sum(one.bytes for one in earlier.record.stored())
        return FIXED + (before if stage in ("embed", "train") else max(guess, min(before, 4 * read)))
    return FIXED + guess


def free(place: Path) -> int:
    """Bytes that are free where `place` is or will be. Raises StorageError."""
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        return shutil.disk_usage(place).free
    except OSError as error:
        raise StorageError(f"cannot tell what is free at {place}", got=error.strerror or error) from error


def begun(folder: Path) -> int:
    """Bytes that an interrupted run has written of the result already."""
    total = 0
    for here, _, names in os.walk(folder):
        total += sum(path.stat().st_size for name in names if (path := Path(here, name)).is_file())
    return total


def check(name: str, place: Path, needed: int) -> None:
    """Raises StorageError when less is free than is needed."""
    there = free(place)
    if there < needed:
        raise StorageError(
            f"{name} will write about {human(needed)}, and {human(there)} are free",
            where=str(place),
            try_="free space or choose another WORKSPACE; --ignore-space runs all the same. What was complete is intact",
        )


def human(count: float) -> str:
    """1536 → 1.5 kB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TB"
