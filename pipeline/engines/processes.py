"""Several processes on this machine, which each do one shard after the other and store it themselves.

A process is spawned, never forked: libraries with threads hang in a fork. It opens its model once. It dies with the process
that started it, and a shard whose worker dies is done again by another one.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from pipeline.engines.task import Done, Hand, Lines, Task, no_core_dump, sendable, threads_each
from pipeline.lock import working
from pipeline.progress import Gathered
from stages.errors import ResourceError
from stages.spec import Shard
from stages.workers import cores, die_with

DEATHS = 3
"""Workers that may die over one shard, or before their first, until it is taken for the work's own fault."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


@dataclass
class _Worker:
    """A process, the way to speak to it, and what it is at."""

    process: BaseProcess
    pipe: Connection
    shard: Shard | None = None


class Engine:
    """Processes of this machine. See `pipeline.engines.Engine`."""

    def __init__(self, config: Any) -> None:
        self.asked: int | None = config.workers
        self.threads: int | None = config.threads

    def run(self, task: Task, shards: Sequence[Shard]) -> Generator[Done, None, None]:
        """The shards as they are finished. Raises what a worker raises, ResourceError where workers die again and again."""
        count = min(len(shards), self.asked or _as_many(task.device))
        crew = _Crew(task, deque(shards), threads_each(count, self.threads))
        says = Gathered(task.says.log)
        try:
            with task.says.progress(task.stage, len(shards)) as bar:
                crew.workers = [crew.start() for _ in range(count)]
                for kind, value in crew.messages():
                    if kind == "log":
                        says.log(value)
                    elif kind == "error":
                        raise value
                    else:
                        bar.advance()
                        yield value
        finally:
            crew.end()
            says.close()


class _Crew:
    """The workers, and the shards that none of them has taken yet."""

    def __init__(self, task: Task, todo: deque[Shard], threads: int) -> None:
        self.task, self.todo, self.threads = task, todo, threads
        self.workers: list[_Worker] = []
        self.deaths: Counter[str] = Counter()

    def start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(
            target=_work,
            args=(there, replace(self.task, says=Lines()), os.getpid()),
            name="hardrock-worker",
            daemon=True,
        )
        with _environment({name: str(self.threads) for name in THREADS}):
            process.start()
        there.close()
        return _Worker(process, here)

    def messages(self) -> Iterator[tuple[str, Any]]:
        """What workers say, until nothing is left to do: log and a line, done and a `Done`, error and an exception."""
        left = len(self.todo)
        while left:
            for worker in self._speaking():
                try:
                    kind, value = worker.pipe.recv()
                except (EOFError, OSError):
                    self._mourn(worker)
                    continue
                if kind == "done":
                    left -= 1
                if kind in ("ready", "done"):
                    worker.shard = self.todo.popleft() if self.todo else None
                    with suppress(OSError):  # it has died meanwhile, and the next read says so
                        worker.pipe.send(worker.shard)
                if kind != "ready":
                    yield kind, value

    def _speaking(self) -> list[_Worker]:
        ready = wait([worker.pipe for worker in self.workers])
        return [worker for worker in self.workers if worker.pipe in ready]

    def _mourn(self, worker: _Worker) -> None:
        """A worker has died: its shard is done again, by another one in its place. Raises ResourceError at the third death."""
        worker.process.join()
        worker.pipe.close()
        self.workers.remove(worker)
        if worker.shard is None and worker.process.exitcode == 0:  # there was nothing left for it
            return
        over = str(worker.shard or "its start")
        self.deaths[over] += 1
        how = f"ended with {worker.process.exitcode}"
        if self.deaths[over] >= DEATHS:
            raise ResourceError(
                f"{DEATHS} workers died over {over} of {self.task.node}",
                got=f"the last {how}",
                try_="fewer workers or smaller shards: -9 is mostly a lack of memory. What was finished is kept",
            )
        self.task.says.log(f"a worker {how} over {over}, which another one does again")
        if worker.shard is not None:
            self.todo.appendleft(worker.shard)
        self.workers.append(self.start())

    def end(self) -> None:
        """Ends all workers at once: what they have not finished is as if never begun."""
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            worker.process.join()
            worker.pipe.close()


def _as_many(device: str) -> int:
    """One worker a core, or a single one for a GPU: name their number to put several on it."""
    return 1 if device.startswith("cuda") else cores()


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Variables that a process started meanwhile gets. What a person has set stays."""
    before = dict(os.environ)
    for name, value in values.items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        for name in values.keys() - before.keys():
            del os.environ[name]


def _work(pipe: Connection, task: Task, parent: int) -> None:
    """The life of a worker: asks for a shard, does it, says so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the one that started this one decides
    die_with(parent)
    no_core_dump()
    lines = task.says
    assert isinstance(lines, Lines)
    try:
        with working(task.root):
            hand = Hand(task)
            pipe.send(("ready", None))
            while (shard := pipe.recv()) is not None:
                done = hand.do(shard)
                for line in lines.take():
                    pipe.send(("log", line))
                pipe.send(("done", done))
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:
        for line in lines.take():
            pipe.send(("log", line))
        pipe.send(("error", sendable(error)))
