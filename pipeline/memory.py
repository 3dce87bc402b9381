"""A stage in memory: what it would make with another configuration, and nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import pyarrow as pa

from stages.errors import ArtefactError
from stages.settings import Settings
from stages.spec import WHOLE, Bar, Inputs, Shard


@dataclass(frozen=True)
class MemoryTable:
    """A table in parts that another stage can read; see `stages.spec.Source`."""

    tables: tuple[pa.Table, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return sum(table.num_rows for table in self.tables)

    @property
    def schema(self) -> pa.Schema:
        return self.tables[0].schema

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(str(number) for number in range(len(self.tables)))

    def read(self, columns: Sequence[str] | None = None, part: str | None = None) -> pa.Table:
        chosen = self.tables if part is None else (self.tables[int(part)],)
        return pa.concat_tables(table if columns is None else table.select(list(columns)) for table in chosen)

    def batches(
        self, columns: Sequence[str] | None = None, rows: int = 65_536, start: int = 0
    ) -> Iterator[pa.RecordBatch]:
        for table in self.tables:
            rest = (table if columns is None else table.select(list(columns))).slice(min(start, table.num_rows))
            yield from rest.to_batches(max_chunksize=rows)
            start = max(start - table.num_rows, 0)

    def path(self) -> Path:
        raise ArtefactError("a table in memory has no path", try_="run the stage")


@dataclass(frozen=True)
class Result:
    """Tables, counters and facts of a stage."""

    tables: Mapping[str, MemoryTable]
    counters: Mapping[str, int]


class _Bar:
    def advance(self, amount: int = 1) -> None: ...


@dataclass(frozen=True)
class _Context:
    shards: tuple[Shard, ...]
    scratch: Path
    device: str
    round: int

    @contextmanager
    def progress(self, says: str, total: int) -> Iterator[Bar]:
        yield _Bar()

    def log(self, message: str) -> None: ...


def run(stage: ModuleType, config: Settings, inputs: Inputs, device: str, round: int) -> Result:
    """Runs all shards of a stage that makes tables only."""
    shards = tuple(stage.SPEC.shards(config, inputs)) if stage.SPEC.shards else (WHOLE,)
    tables: dict[str, list[pa.Table]] = {name: [] for name in stage.SPEC.tables}
    counters: dict[str, int] = {}
    facts: dict[str, Any] = {}
    with TemporaryDirectory() as scratch:
        for part in stage.run(config, inputs, _Context(shards, Path(scratch), device, round)):
            for name, table in part.tables.items():
                tables[name].append(table)
            for name, count in part.counters.items():
                counters[name] = counters.get(name, 0) + count
            facts.update(part.facts)
    return Result({name: MemoryTable(tuple(many), facts) for name, many in tables.items() if many}, counters)
