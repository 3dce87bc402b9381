"""Pictures of the table `pictures` by their rows: in order from the table, or at random from a file beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from stages.spec import Source

BLOCK = 256  # pictures that are held at once
_READ = 32  # rows of the table that are read at once


def kinds(source: Source) -> frozenset[str]:
    """What the rows of corpus or queries are: text, picture, both, or nothing when there are none."""
    found = set()
    for batch in source.batches(["picture"]):
        nulls = batch.column("picture").null_count
        found |= ({"text"} if nulls else set()) | ({"picture"} if nulls < batch.num_rows else set())
    return frozenset(found)


def images(source: Source, rows: np.ndarray, block: int = BLOCK) -> Iterator[tuple[np.ndarray, list[bytes]]]:
    """The encoded bytes of the pictures in `rows`, int (n,), ascending and unique: blocks of rows (b,) and their bytes."""
    held: list[bytes] = []
    done = 0
    start = int(rows[0]) if len(rows) else 0
    for batch in source.batches(["image"], rows=_READ, start=start) if len(rows) else ():
        end = start + batch.num_rows
        inside = rows[done + len(held) : int(np.searchsorted(rows, end))] - start
        held += batch.column("image").take(pa.array(inside)).to_pylist()
        start = end
        while len(held) >= block or (held and done + len(held) == len(rows)):
            yield rows[done : done + block], held[:block]
            done, held = done + len(held[:block]), held[block:]
        if done == len(rows):
            return


class Album:
    """Pictures at random, from a file that is mapped and not read: memory holds what was asked for last.

    Make it once with `store`; then it can be opened in any process.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        file = pa.ipc.open_file(pa.memory_map(str(path)))
        table = file.read_all()
        self._rows = table.column("row").to_numpy()
        self._images = table.column("image")

    @classmethod
    def store(cls, source: Source, rows: np.ndarray, path: Path) -> Album:
        """Copies the pictures of `rows`, ascending and unique, to a file."""
        schema = pa.schema([("row", pa.int32()), ("image", pa.large_binary())])
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for some, contents in images(source, rows):
                columns = [pa.array(some, pa.int32()), pa.array(contents, pa.large_binary())]
                writer.write_batch(pa.record_batch(columns, schema=schema))
        return cls(path)

    def __getitem__(self, row: int) -> bytes:
        """The encoded bytes of a picture. Raises KeyError for a row that was not stored."""
        place = int(np.searchsorted(self._rows, row))
        if place == len(self._rows) or self._rows[place] != row:
            raise KeyError(row)
        return bytes(self._images[place].as_py())

    def __reduce__(self) -> tuple[type[Album], tuple[Path]]:
        return Album, (self._path,)
