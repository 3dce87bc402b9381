"""Runs a stage without a workspace: tables stay in memory, files go to a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.freed import give_back
from pipeline.memory import MemoryTable
from stages.arrays import vector_table
from stages.spec import WHOLE, Shard


def vectors(values: np.ndarray) -> MemoryTable:
    """A table of vectors float32 (n, d), which may be mapped from a file: nothing is copied."""
    return MemoryTable((vector_table(np.arange(len(values), dtype=np.int32), values),))


@dataclass
class File:
    """A `Source` that is a file or a folder."""

    place: Path
    facts: dict[str, Any] = field(default_factory=dict)

    def path(self) -> Path:
        return self.place


class _Bar:
    def advance(self, amount: int = 1) -> None:
        """Shows nothing."""


@dataclass
class Surroundings:
    """A `Context` that says nothing."""

    shards: tuple[Shard, ...]
    scratch: Path
    device: str = "cpu"
    round: int = 0

    @contextmanager
    def progress(self, says: str, total: int) -> Iterator[_Bar]:
        yield _Bar()

    def log(self, message: str) -> None:
        """Says nothing."""


def run(stage: ModuleType, config: Any, inputs: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Runs a stage and returns what it made as inputs of the next one, together with those it had."""
    give_back()  # as the pipeline does between stages
    shards = tuple(stage.SPEC.shards(config, inputs)) if stage.SPEC.shards else (WHOLE,)
    scratch = folder / "scratch" / stage.SPEC.name
    scratch.mkdir(parents=True, exist_ok=True)
    tables: dict[str, list[pa.Table]] = {}
    files: dict[str, Path] = {}
    facts: dict[str, Any] = {}
    context, pieces = Surroundings(shards, scratch), folder / "pieces"
    finishing = stage.finish(config, inputs, context, pieces) if stage.SPEC.finishes else ()
    for part in chain(stage.run(config, inputs, context), finishing):
        for name, write in part.pieces.items():
            pieces.mkdir(exist_ok=True)
            write(pieces / name)
        for name, table in part.tables.items():
            tables.setdefault(name, []).append(table)
        for name, write in part.files.items():
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            write(place)
            files[name] = place
        facts |= part.facts
    made = {name: MemoryTable(tuple(held), facts) for name, held in tables.items()}
    return {**inputs, **made, **{name: File(place, facts) for name, place in files.items()}}
