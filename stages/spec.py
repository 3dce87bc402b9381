"""What a stage is.

A stage is a generator: it takes its configuration, its inputs and the shards still to do, and yields one `Part` for each
piece of its result. It opens no file and names no path of its own; whoever runs it stores the parts.

    SPEC = Spec(name="judge", version=1, config=JudgeConfig, inputs=(...), outputs=("judged",), shards=shards)

    def run(config: JudgeConfig, inputs: Inputs, context: Context) -> Iterator[Part]: ...

Each stage file holds these three: the configuration model, `SPEC` and `run`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

if TYPE_CHECKING:
    from stages.settings import Settings


class Source(Protocol):
    """One input: a table in one or more parts, or a file or folder that a library loads by itself.

    Whoever implements it checks the bytes against their manifest before they are used.
    """

    @property
    def rows(self) -> int: ...

    @property
    def schema(self) -> pa.Schema: ...

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the table's parts in order. Tables of one sharded stage have parts that correspond one to one."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the stage that made this found out, as JSON values; empty unless the reader's `Spec.facts_of` names it."""
        ...

    def read(self, columns: Sequence[str] | None = None, part: str | None = None) -> pa.Table:
        """The table, or one part of it, with all columns or some."""
        ...

    def batches(
        self, columns: Sequence[str] | None = None, rows: int = 65_536, start: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """The table in order from row `start` on, in batches of at most `rows`, with memory for one batch at a time.

        What lies before is not read, but for the rest of its row group.
        """
        ...

    def path(self) -> Path:
        """The file or folder, for a library that loads it by itself: a FAISS index, a checkpoint."""
        ...


Inputs = Mapping[str, Source]


@dataclass(frozen=True)
class Shard:
    """A piece of a stage's work that is done, stored and resumed as one: rows `start` to `stop` of what `name` says."""

    name: str
    index: int
    start: int = 0
    stop: int = 0

    def __str__(self) -> str:
        return f"{self.name}-{self.index:05d}"


WHOLE = Shard("whole", 0)
"""The only shard of a stage that is not sharded."""


def cut(name: str, rows: int, size: int) -> tuple[Shard, ...]:
    """Shards of `size` rows that cover `rows` rows; none when there are no rows."""
    return tuple(Shard(name, i, start, min(start + size, rows)) for i, start in enumerate(range(0, rows, size)))


@dataclass(frozen=True)
class Part:
    """A piece of a result. A shard may yield several; the shard is complete when `last` is true.

    `tables` become Parquet files, in the order in which a table's parts are yielded. `files` are written by the function
    given for each: it gets the path to write to, a file or a folder. `pieces` are written in the same way, for the stage's
    `finish`, and go when the result is whole. `counters` are added up over all parts; `facts` are JSON values of the whole
    stage, given once.
    """

    shard: Shard
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    files: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    last: bool = True
    pieces: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)


class Bar(Protocol):
    def advance(self, amount: int = 1) -> None: ...


class Cache(Protocol):
    """Tables that outlive a stage's result and its workspace's configuration, by name.

    Nothing hangs on what is in it: a stage that finds nothing computes the same again.
    """

    def read(self, name: str) -> pa.Table | None:
        """All that was added under a name, in no certain order; None when there is nothing. What is damaged is left out."""
        ...

    def add(self, name: str, table: pa.Table) -> None:
        """Stores a table under a name, which may have slashes; tables of one name have one schema."""
        ...


class Context(Protocol):
    """What the surroundings give to a stage."""

    @property
    def shards(self) -> tuple[Shard, ...]:
        """The shards still to do, in order."""
        ...

    @property
    def scratch(self) -> Path:
        """A folder of this stage alone. It outlives a kill, and goes when the stage is complete."""
        ...

    @property
    def cache(self) -> Cache:
        """What is dear to compute and may be wanted again under another configuration."""
        ...

    @property
    def device(self) -> str:
        """`cpu`, or `cuda` with or without a number."""
        ...

    @property
    def round(self) -> int: ...

    def progress(self, says: str, total: int) -> AbstractContextManager[Bar]: ...

    def log(self, message: str) -> None:
        """A line for the person and for the log. Use it for everything that differs from what was asked."""
        ...


@dataclass(frozen=True)
class Spec:
    """What the surroundings know of a stage.

    `inputs` are the tables and artefacts it cannot do without; `optional` ones are given where an earlier round has made
    them. `shards` lists the pieces of the work, from the configuration and the inputs alone; `undivided` says of a configuration
    that one process must do them all, because they share a budget; `finishes` that the module has a generator
    `finish(config, inputs, context, pieces)`, which one process runs when all shards are stored: it yields parts made of the `pieces`,
    a folder, that the shards left. `external` gives the
    fingerprints of what the configuration names outside of the workspace: raw data, weights. `facts_of` names the inputs
    whose facts it reads: those then count as part of their content. `tables` and `files` are the names of what it writes. `resources` are hints to whoever spreads the work: "gpu", "cpu", "memory".
    """

    name: str
    version: int
    config: type[Settings]
    inputs: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    asks: Callable[[Any], Sequence[str]] | None = None
    every_round: tuple[str, ...] = ()
    facts_of: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    shards: Callable[[Any, Inputs], Sequence[Shard]] | None = None
    undivided: Callable[[Any], bool] | None = None
    finishes: bool = False
    external: Callable[[Any, Inputs, str], Mapping[str, str]] | None = None
    resources: frozenset[str] = frozenset({"cpu"})
