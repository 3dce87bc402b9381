from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from tests.faults import world
from tests.faults.server import Server
from tests.faults.world import content, write_data

MEMORY = Path("/dev/shm")

SEED = int(os.environ.get("FAULTS_SEED") or 1)
"""Draws the sampled points, the moments of signals and the damages."""

PART, PARTS = map(int, (os.environ.get("FAULTS_PART") or "1/1").split("/"))
"""Which part of the points, such as 2/8, is tried where a test asks for every one."""

LANES = int(os.environ.get("FAULTS_LANES") or len(os.sched_getaffinity(0)))
"""How many runs go on beside each other where a test asks for every point."""


@dataclass(frozen=True)
class Station:
    """A run that stops before and after one node: the workspace before it, its events, and what is there after it."""

    number: int
    before: Path | None
    events: tuple[str, ...]
    after: dict[str, str]


@dataclass
class Bench:
    """A server, a data set, an undisturbed workspace with its events, and room for others."""

    server: Server
    data: Path
    folder: Path
    good: Path
    events: tuple[str, ...]
    expected: dict[str, str]
    lanes: list[Bench] = field(default_factory=list)

    def fresh(self, name: str = "ws") -> Path:
        """A place for a workspace; what was there is gone."""
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        return place

    def copy(self, name: str = "ws", of: Path | None = None, inside: Path = Path()) -> Path:
        """A copy of a workspace; or, with `inside`, a workspace that has the copied folder there and nothing else."""
        place = self.fresh(name)
        shutil.copytree(of or self.good, place / inside)
        return place

    def until(self, number: int) -> dict[str, str]:
        """What is expected after the first nodes."""
        return content(self.good, number)

    def at(self, station: Station) -> Path:
        """A workspace as it is before the station."""
        return self.copy(of=station.before) if station.before else self.fresh()

    def stations(self, name: str, start: Path | None, **what: Any) -> list[Station]:
        """The way from one workspace to the next result, a node at a time."""
        found, before = [], start
        for number in range(1, len(world.NAMES) + 1):
            workspace = self.copy(f"{name}-{number}", before) if before else self.fresh(f"{name}-{number}")
            ended = self.server.run(self.data, workspace, do="count", until=number, **what)
            assert ended.code == 0, ended.said
            found.append(Station(number, before, ended.events, content(workspace, number)))
            before = workspace
        return found

    def each(self, check: Callable[..., Any], points: Iterable[tuple[Any, ...]]) -> list[Any]:
        """Calls check(bench, *point) for every point of this part, over all lanes. Stops at the first that fails."""
        while len(self.lanes) < LANES:
            folder = self.folder / f"lane-{len(self.lanes)}"
            folder.mkdir()
            server = Server(folder, real=world.is_real(self.data))
            self.lanes.append(replace(self, server=server, folder=folder, lanes=[]))
        free: SimpleQueue[Bench] = SimpleQueue()
        for lane in self.lanes:
            free.put(lane)

        def take(point: tuple[Any, ...]) -> Any:
            lane = free.get()
            try:
                return check(lane, *point)
            except AssertionError as error:
                raise AssertionError(f"{check.__name__} at {point}: {error}") from error
            finally:
                free.put(lane)

        with ThreadPoolExecutor(LANES) as pool:
            futures = [pool.submit(take, point) for point in list(points)[PART - 1 :: PARTS]]
            try:
                return [future.result() for future in futures]
            finally:
                pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        for lane in (*self.lanes, self):
            lane.server.close()


@contextmanager
def made(*, real: bool, until: int | None = None) -> Iterator[Bench]:
    """A bench of the light pipeline, or of the one that really trains; its workspace has the results of the first nodes."""
    with tempfile.TemporaryDirectory(prefix="faults-", dir=MEMORY if MEMORY.is_dir() else None) as place:
        folder = Path(place)
        server = Server(folder, real=real)
        data = write_data(folder / "data")
        if real:
            world.write_model(data)
        ended = server.run(data, folder / "good", do="count", until=until)
        assert ended.code == 0, ended.said
        found = Bench(server, data, folder, folder / "good", ended.events, content(folder / "good"))
        yield found
        found.close()


@pytest.fixture(scope="session")
def bench() -> Iterator[Bench]:
    with made(real=False) as found:
        yield found
