from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.server import Server
from tests.faults.world import content, write_data

MEMORY = Path("/dev/shm")


@dataclass
class Bench:
    """A server, a data set, an undisturbed workspace with its events, and room for others."""

    server: Server
    data: Path
    folder: Path
    good: Path
    events: tuple[str, ...]
    expected: dict[str, str]

    def fresh(self, name: str = "ws") -> Path:
        """A place for a workspace; what was there is gone."""
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        return place

    def copy(self, name: str = "ws") -> Path:
        place = self.fresh(name)
        shutil.copytree(self.good, place)
        return place


@pytest.fixture(scope="session")
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="faults-", dir=MEMORY if MEMORY.is_dir() else None) as place:
        folder = Path(place)
        server = Server(folder)
        data = write_data(folder / "data")
        ended = server.run(data, folder / "good", do="count")
        assert ended.code == 0, ended.said
        yield Bench(server, data, folder, folder / "good", ended.events, content(folder / "good"))
        server.close()
