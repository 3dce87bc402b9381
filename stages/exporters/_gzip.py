"""gzip files with the same bytes every time, and JSON lines in shards of them with the place of each line."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


@contextmanager
def zipped(path: Path) -> Iterator[gzip.GzipFile]:
    """A new gzip file without a name or a time in it, so that equal rows give equal bytes."""
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as file:
        yield file


class Shards:
    """Shards of at most `limit` lines, and where each line is in its unpacked shard: [start, end) in bytes."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._open = ExitStack()
        self._file: gzip.GzipFile | None = None
        self.offsets: list[list[tuple[int, int]]] = []

    def write(self, line: bytes) -> None:
        """Adds a line, its end included."""
        if self._file is None or len(self.offsets[-1]) == self._limit:
            self._open.close()
            self._file = self._open.enter_context(zipped(self._folder / f"shard-{len(self.offsets):05d}.jsonl.gz"))
            self.offsets.append([])
        start = self.offsets[-1][-1][1] if self.offsets[-1] else 0
        self._file.write(line)
        self.offsets[-1].append((start, start + len(line)))

    def close(self) -> tuple[str, ...]:
        """Ends the last shard and returns the names of all, relative to the target's folder."""
        self._open.close()
        return tuple(f"data/shard-{i:05d}.jsonl.gz" for i in range(len(self.offsets)))
