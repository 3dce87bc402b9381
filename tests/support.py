"""Runs one stage in memory, and checks what it yields against the schemas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
from hypothesis import settings

from stages.schemas import TABLES
from stages.spec import WHOLE, Shard


@dataclass
class Table:
    """A `Source` over parts in memory."""

    tables: list[pa.Table]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return sum(t.num_rows for t in self.tables)

    @property
    def schema(self) -> pa.Schema:
        return self.tables[0].schema

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(str(i) for i in range(len(self.tables)))

    def read(self, columns: Sequence[str] | None = None, part: str | None = None) -> pa.Table:
        tables = self.tables if part is None else [self.tables[int(part)]]
        if columns is not None:
            tables = [t.select(list(columns)) for t in tables]
        return pa.concat_tables(tables)

    def batches(
        self, columns: Sequence[str] | None = None, rows: int = 65_536, start: int = 0
    ) -> Iterator[pa.RecordBatch]:
        for table in self.tables:
            rest = (table if columns is None else table.select(list(columns))).slice(min(start, table.num_rows))
            yield from rest.to_batches(max_chunksize=rows)
            start = max(start - table.num_rows, 0)

    def path(self) -> Path:
        raise AssertionError("a table has no path")


@dataclass
class File:
    """A `Source` that is a file or a folder."""

    place: Path
    facts: dict[str, Any] = field(default_factory=dict)

    def path(self) -> Path:
        return self.place


class _Bar:
    def advance(self, amount: int = 1) -> None: ...


@dataclass
class MemoryCache:
    """A `Cache` in memory. `added` counts rows."""

    tables: dict[str, list[pa.Table]] = field(default_factory=dict)
    added: int = 0

    def read(self, name: str) -> pa.Table | None:
        return pa.concat_tables(self.tables[name]) if name in self.tables else None

    def add(self, name: str, table: pa.Table) -> None:
        self.tables.setdefault(name, []).append(table)
        self.added += table.num_rows


@dataclass
class TestContext:
    __test__ = False
    shards: tuple[Shard, ...] = (WHOLE,)
    scratch: Path = Path("/nonexistent")
    cache: MemoryCache = field(default_factory=MemoryCache)
    device: str = "cpu"
    round: int = 0
    messages: list[str] = field(default_factory=list)
    earlier: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def progress(self, says: str, total: int) -> Iterator[_Bar]:
        yield _Bar()

    def log(self, message: str) -> None:
        self.messages.append(message)


@dataclass
class Result:
    """What a stage yielded: each table as a Source, each file's place, counters and facts, the parts by shard."""

    tables: dict[str, Table]
    files: dict[str, Path]
    counters: dict[str, int]
    facts: dict[str, Any]
    messages: list[str]
    shards: list[str]

    def __getitem__(self, name: str) -> pa.Table:
        return self.tables[name].read()

    def inputs(self) -> dict[str, Any]:
        """The tables and files as inputs of another stage, with facts."""
        tables = {n: Table(t.tables, self.facts) for n, t in self.tables.items()}
        return {**tables, **{n: File(p, self.facts) for n, p in self.files.items()}}

    def rows(self, name: str) -> list[dict[str, Any]]:
        return self[name].to_pylist()


def few(count: int) -> int:
    """Examples of a slow property: `count` by default, and as many as the profile says where another one is chosen."""
    return count if settings.get_current_profile_name() == "quick" else settings.default.max_examples


def source(*tables: pa.Table, **facts: Any) -> Table:
    return Table(list(tables), facts=facts)


def table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """A table of the named schema from rows; what is left out becomes null."""
    schema = TABLES[name]
    return pa.Table.from_pylist([{f.name: row.get(f.name) for f in schema} for row in rows], schema=schema)


def run(
    module: ModuleType,
    config: Any,
    inputs: Mapping[str, Any],
    folder: Path,
    *,
    only: Sequence[str] | None = None,
    device: str = "cpu",
    round: int = 0,
    cache: MemoryCache | None = None,
    earlier: Mapping[str, Any] | None = None,
) -> Result:
    """Runs `module.run` over all shards, or those named in `only`, and stores files under `folder`.

    Where a stage reads pictures and none are given, there are none.
    """
    spec = module.SPEC
    inputs = {"pictures": Table([TABLES["pictures"].empty_table()]), **inputs}
    assert isinstance(config, spec.config)
    for name in spec.inputs:
        assert name in inputs, f"{spec.name} needs {name}"
    shards = tuple(spec.shards(config, inputs)) if spec.shards else (WHOLE,)
    if only is not None:
        shards = tuple(s for s in shards if str(s) in only)
    scratch = folder / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    context = TestContext(
        shards=shards, scratch=scratch, cache=cache or MemoryCache(), device=device, round=round, earlier=earlier or {}
    )
    result = Result({}, {}, {}, {}, context.messages, [])
    finished: list[str] = []
    finishing = module.finish(config, inputs, context, folder / "pieces") if spec.finishes else ()
    for part in chain(module.run(config, inputs, context), finishing):
        for name, value in part.tables.items():
            assert name in spec.tables, f"{spec.name} does not declare the table {name}"
            expected = TABLES.get(name)
            assert expected is None or value.schema.equals(expected), f"{name}: {value.schema} is not {expected}"
            result.tables.setdefault(name, Table([])).tables.append(value)
        for name, write in part.files.items():
            assert name.split("/")[0] in spec.files, f"{spec.name} does not declare the file {name}"
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            write(place)
            assert place.exists()
            result.files[name] = place
        for name, write in part.pieces.items():
            assert spec.finishes
            (folder / "pieces" / name).parent.mkdir(parents=True, exist_ok=True)
            write(folder / "pieces" / name)
        for name, count in part.counters.items():
            assert isinstance(count, int)
            result.counters[name] = result.counters.get(name, 0) + count
        for name, fact in part.facts.items():
            assert name not in result.facts
            result.facts[name] = fact
        if part.last and not (spec.finishes and part.shard == WHOLE):
            finished.append(str(part.shard))
    assert finished == [str(s) for s in shards], "each shard ends once, in order"
    result.shards = finished
    return result
