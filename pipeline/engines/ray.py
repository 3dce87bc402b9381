"""A Ray cluster: an actor a worker, which opens its model once and then does one shard a task.

Tasks and answers are paths, names and hashes; vectors and texts go from the workspace to the worker and back, never through
the driver or Ray's object store. So the workspace lies on a file system that all nodes share, under the same path, and
Hardrock is installed on each with the same packages. Actors end with the driver. A shard whose actor or node dies is done
again by another one, and a node that comes later gets an actor as soon as Ray has room for it.
"""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pipeline import environment
from pipeline.engines.task import Done, Hand, Lines, Task, no_core_dump, sendable
from pipeline.lock import working
from pipeline.progress import Gathered
from stages.errors import ConfigError, HardrockError, ResourceError
from stages.spec import Shard

DEATHS = 3
"""Actors that may die over one shard until it is taken for the work's own fault."""

PATIENCE = 30.0
"""Seconds without news after which a person hears what is waited for."""


class Worker:
    """An actor: does shards of one task, beside others. See `pipeline.engines.task.Hand`."""

    def __init__(self, task: Task, versions: Mapping[str, str]) -> None:
        no_core_dump()
        self.task, self.versions = task, versions
        self.lines = task.says
        self.stack = ExitStack()  # let go by the kernel, with the process
        self.hand: Hand | None = None

    def ready(self) -> None:
        """Looks whether this node can do the task. Raises ResourceError, ArtefactError."""
        here = environment.versions()
        differ = [
            f"{name} {here.get(name)}, not {found}" for name, found in self.versions.items() if here.get(name) != found
        ]
        if differ:
            raise ResourceError(
                f"the node {os.uname().nodename} has other packages than the driver, and would give other bytes",
                got="; ".join(differ), try_="install the same requirements.lock on every node",
            )  # fmt: skip
        self.stack.enter_context(working(self.task.root))
        self.hand = Hand(self.task)

    def do(self, shard: Shard) -> tuple[Done, list[str]]:
        """The shard, stored, and what is to be said."""
        assert self.hand is not None
        assert isinstance(self.lines, Lines)
        try:
            return self.hand.do(shard), self.lines.take()
        except Exception as error:
            raise sendable(error) from None


@dataclass
class _Actor:
    handle: Any
    answer: Any  # the reference that is waited for
    shard: Shard | None = None


class Engine:
    """A Ray cluster. See `pipeline.engines.Engine`."""

    def __init__(self, config: Any) -> None:
        self.asked: int | None = config.workers
        self.threads: int | None = config.threads
        self.address: str | None = config.address

    def run(self, task: Task, shards: Sequence[Shard]) -> Generator[Done, None, None]:
        """The shards as they are finished. Raises what a worker raises, ResourceError where no Ray is to be had."""
        self._connect()
        says = Gathered(task.says.log)
        pool = _Pool(task, deque(shards), self._options(task))
        try:
            with task.says.progress(task.stage, len(shards)) as bar:
                pool.start(min(len(shards), self.asked or self._room(task)))
                for done, lines in pool.finished():
                    for line in lines:
                        says.log(line)
                    bar.advance()
                    yield done
        finally:
            pool.end()
            says.close()

    def _connect(self) -> None:
        try:
            import ray
        except ImportError:
            raise ResourceError("Ray is not installed", try_="pip install 'hardrock[ray]'") from None
        if ray.is_initialized():
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        address = self.address or os.environ.get("RAY_ADDRESS")
        with _signals_kept():
            try:
                _reach(address)
                ray.init(
                    address=address,
                    log_to_driver=False,
                    logging_level="ERROR",
                    include_dashboard=False if not address else None,
                )
            except (OSError, ValueError, RuntimeError) as error:
                raise ResourceError(
                    "no Ray answers", where=address or "this machine", got=str(error).split("\n", 1)[0],
                    try_="ray start --head on one machine, ray start --address=… on the others, and [engine] address",
                ) from None  # fmt: skip

    def _options(self, task: Task) -> dict[str, Any]:
        """What an actor takes of its node. Ray gives it as many threads as CPUs."""
        gpu = {"num_gpus": 1} if task.device.startswith("cuda") else {}
        return {"num_cpus": self.threads or 1, "max_restarts": 0, "max_task_retries": 0, **gpu}

    def _room(self, task: Task) -> int:
        """As many workers as the cluster has room for now."""
        import ray

        what, each = ("GPU", 1) if task.device.startswith("cuda") else ("CPU", self.threads or 1)
        found = int(ray.cluster_resources().get(what, 0) // each)
        if not found:
            raise ConfigError(f"the Ray cluster has no {what}", where="engine", try_="another device, or other nodes")
        return found


class _Pool:
    """The actors, and the shards that none of them has taken yet."""

    def __init__(self, task: Task, todo: deque[Shard], options: dict[str, Any]) -> None:
        self.task, self.todo, self.options = task, todo, options
        self.actors: list[_Actor] = []
        self.deaths: Counter[str] = Counter()
        self.versions = environment.versions()

    def start(self, count: int) -> None:
        """Asks for more actors. They wait in Ray until there is room for them."""
        import ray

        made = ray.remote(Worker).options(**self.options)
        for _ in range(count):
            handle = made.remote(replace(self.task, says=Lines()), self.versions)
            self.actors.append(_Actor(handle, handle.ready.remote()))

    def finished(self) -> Iterator[tuple[Done, list[str]]]:
        """What actors have done, until nothing is left to do."""
        import ray

        left = len(self.todo)
        while left:
            ready, _ = ray.wait([actor.answer for actor in self.actors], num_returns=1, timeout=PATIENCE)
            if not ready:
                self._say_what_is_waited_for()
            for actor in [actor for actor in self.actors if actor.answer in ready]:
                answer = self._answer(actor)
                if actor not in self.actors:  # it has died
                    continue
                if answer is not None:
                    left -= 1
                self._give(actor)
                if answer is not None:
                    yield answer

    def _give(self, actor: _Actor) -> None:
        if self.todo:
            actor.shard = self.todo.popleft()
            actor.answer = actor.handle.do.remote(actor.shard)
        else:
            self._let_go(actor)

    def _answer(self, actor: _Actor) -> tuple[Done, list[str]] | None:
        """What an actor answers; None where it only says that it is there, or has died."""
        import ray

        try:
            answer: tuple[Done, list[str]] | None = ray.get(actor.answer)
            return answer
        except ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, HardrockError) else RuntimeError(str(error))) from None
        except ray.exceptions.RayError as error:
            self._mourn(actor, type(error).__name__)
            return None

    def _mourn(self, actor: _Actor, how: str) -> None:
        """An actor has died: its shard is done again, and another actor asked for. Raises ResourceError at the third death."""
        self._let_go(actor)
        over = str(actor.shard or "its start")
        self.deaths[over] += 1
        if self.deaths[over] >= DEATHS:
            raise ResourceError(
                f"{DEATHS} workers died over {over} of {self.task.node}", got=f"the last by {how}",
                try_="smaller shards, or more memory a worker: `ray status` and Ray's logs. What was finished is kept",
            )  # fmt: skip
        self.task.says.log(f"a worker died over {over} ({how}), which another one does again")
        if actor.shard is not None:
            self.todo.appendleft(actor.shard)
        self.start(1)

    def _say_what_is_waited_for(self) -> None:
        at_work = [str(actor.shard) for actor in self.actors if actor.shard is not None]
        self.task.says.log(
            f"waits for {', '.join(at_work[:3])}{' …' if len(at_work) > 3 else ''}"
            if at_work
            else f"waits for Ray to have room for a worker with {self.options['num_cpus']} CPU"
        )

    def _let_go(self, actor: _Actor) -> None:
        import ray

        self.actors.remove(actor)
        ray.kill(actor.handle)

    def end(self) -> None:
        """Ends all actors at once: what they have not finished is as if never begun."""
        for actor in list(self.actors):
            self._let_go(actor)


def _reach(address: str | None) -> None:
    """Raises OSError where nothing listens at host:port. Ray itself would try for minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and "/" not in host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray puts handlers of its own in the place of those that end a run in order."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
