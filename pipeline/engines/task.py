"""What is done by every engine in the same way: one stage's shards, each stored whole or not at all.

A task holds paths and small metadata, never data, so that it can be sent to another process or machine.
"""

from __future__ import annotations

import os
import resource
import socket
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from pipeline import plan
from pipeline.cache import DiskCache
from pipeline.environment import peak_memory
from pipeline.manifest import Record, merge
from pipeline.source import FileSource, TableSource
from pipeline.store import Building, Workspace, storing
from stages.errors import ArtefactError, HardrockError, ResourceError
from stages.settings import Settings
from stages.spec import Bar, Inputs, Shard, Source


class Says(Protocol):
    """How a person hears of the work."""

    def progress(self, says: str, total: int) -> AbstractContextManager[Bar]: ...

    def log(self, message: str) -> None: ...


@dataclass(frozen=True)
class Task:
    """One stage in one workspace. `beside`: other jobs may do other shards of it at the same time."""

    stage: str
    node: str
    round: int
    device: str
    config: Settings
    inputs: Inputs
    root: Path
    key: str
    says: Says
    beside: bool = False

    @property
    def building(self) -> Building:
        return Building(Workspace(self.root), self.node, self.key)


@dataclass(frozen=True)
class Worker:
    """A process that did shards, and what it had used by then."""

    host: str
    pid: int
    cpu_seconds: float
    peak_memory: int  # bytes


@dataclass(frozen=True)
class Done:
    """A shard that is stored. `by` is None where this very process did it."""

    shard: Shard
    record: Record
    by: Worker | None = None


@dataclass(frozen=True)
class RunContext:
    """What a stage is given of its surroundings; see `stages.spec.Context`.

    `held`: what was opened for an earlier shard, see `stages.held`; None where all shards are asked for at once.
    `earlier`: the tables of the result that this one is going to replace, by name, see `stages.reuse`.
    """

    shards: tuple[Shard, ...]
    scratch: Path
    cache: DiskCache
    device: str
    round: int
    says: Says
    held: dict[str, Any] | None = None
    earlier: Mapping[str, Source] = field(default_factory=dict)

    def progress(self, says: str, total: int) -> AbstractContextManager[Bar]:
        return self.says.progress(says, total)

    def log(self, message: str) -> None:
        self.says.log(message)


def produce(
    task: Task, shards: Sequence[Shard], building: Building, held: dict[str, Any] | None = None
) -> Iterator[tuple[Shard, Record]]:
    """Runs the stage over the shards and stores its parts as they come; a shard's record is written last."""
    cache = DiskCache(task.root / ".cache")
    earlier = _earlier(task)
    context = RunContext(tuple(shards), building.scratch, cache, task.device, task.round, task.says, held, earlier)
    parts: dict[Shard, list[Record]] = {}
    with storing(building.folder):
        for part in plan.module(task.stage).run(task.config, task.inputs, context):
            parts.setdefault(part.shard, []).append(building.store(part))
            if part.last:
                for source in task.inputs.values():
                    cast(TableSource | FileSource, source).recheck()
                record = merge(parts.pop(part.shard))
                building.record(part.shard, record)
                yield part.shard, record


def finish(task: Task, shards: Sequence[Shard], building: Building) -> Record:
    """What the stage makes of the pieces of all its shards; these are held against their records first. Raises ArtefactError."""
    for shard in shards:
        if building.stored_whole(shard) is None:
            raise ArtefactError(
                f"{shard} of {task.node} is not as it was stored",
                where=str(building.folder), try_=f"hardrock {task.stage}, which does it again",
            )  # fmt: skip
    context = RunContext((), building.scratch, DiskCache(task.root / ".cache"), task.device, task.round, task.says)
    with storing(building.folder):
        parts = plan.module(task.stage).finish(task.config, task.inputs, context, building.pieces)
        record = merge([building.store(part) for part in parts])
        for source in task.inputs.values():
            cast(TableSource | FileSource, source).recheck()
    return record


def _earlier(task: Task) -> Mapping[str, Source]:
    """The tables of the result that is there. It stays, whole, until the new one takes its name."""
    workspace = Workspace(task.root)
    try:
        manifest = workspace.manifest(task.node)
    except ArtefactError:
        return {}
    if manifest is None:
        return {}
    folder, facts = workspace.final(task.node), manifest.record.facts
    return {name: TableSource(folder, name, manifest, facts) for name in manifest.record.tables}


@dataclass
class Hand:
    """Does shards of a task one at a time, beside others that do the same. What is dear to open is opened once."""

    task: Task
    held: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.task.building.begun:
            raise ArtefactError(
                f"{self.task.node} is not being made in this workspace, or with another configuration",
                where=f"{self.task.building.folder}, seen from {socket.gethostname()}",
                try_="one workspace on a file system that all machines share",
            )

    def do(self, shard: Shard) -> Done:
        """The shard, stored: by this call, or by another process that was at it before."""
        building = self.task.building
        with building.alone(shard):
            record = building.stored_whole(shard)
            if record is None:
                ((_, record),) = produce(self.task, [shard], building, self.held)
        return Done(shard, record, used())


def used() -> Worker:
    """What this process has used so far."""
    return Worker(socket.gethostname(), os.getpid(), round(time.process_time(), 3), peak_memory())


class Lines:
    """Lines that wait to be said by another process; there is no bar to advance."""

    def __init__(self) -> None:
        self.waiting: list[str] = []

    @contextmanager
    def progress(self, says: str, total: int) -> Iterator[Bar]:
        yield _Still()

    def log(self, message: str) -> None:
        self.waiting.append(message)

    def take(self) -> list[str]:
        """What was said since it was last asked."""
        taken, self.waiting = self.waiting, []
        return taken


class _Still:
    def advance(self, amount: int = 1) -> None: ...


def threads_each(workers: int, threads: int | None) -> int:
    """Threads of a worker, where so many share this machine's cores."""
    return threads or max(1, len(os.sched_getaffinity(0)) // workers)


def no_core_dump() -> None:
    """A worker that is killed leaves no copy of its memory behind."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def sendable(error: Exception) -> Exception:
    """An error that arrives as it is; one that is no fault of input takes its traceback along as a note."""
    if isinstance(error, HardrockError):
        return error
    if isinstance(error, MemoryError):
        return ResourceError("a worker has not enough memory", try_="fewer workers, or smaller shards or batches")
    return RuntimeError("".join(traceback.format_exception(error)))
