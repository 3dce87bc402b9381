"""Columns of a table as single arrays over mapped files: at random, with memory for what was asked for last.

Processes of one machine that open the same files share what is in memory of them.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa

from stages.spec import Source

VALUES, OFFSETS, VALID = "values", "offsets", "valid"


def mapped(source: Source, names: Sequence[str], folder: Path) -> dict[str, pa.Array]:
    """Columns of large_string or of integers, of any length (n,), from `folder`, where they are put if nobody has yet.

    Whoever is first gives the folder its name; what others have written meanwhile, which is the same, goes.
    """
    if not folder.is_dir():
        own = folder.with_name(f"{folder.name}.{socket.gethostname()}-{os.getpid()}")
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir(parents=True)
        with ExitStack() as stack:
            columns = [stack.enter_context(_Column(own, name)) for name in names]
            for batch in source.batches(names):
                for column, name in zip(columns, names, strict=True):
                    column.add(batch.column(name))
        try:
            own.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
            shutil.rmtree(own, ignore_errors=True)
    return {name: _open(folder, name, source.schema.field(name).type, source.rows) for name in names}


def _open(folder: Path, name: str, kind: pa.DataType, rows: int) -> pa.Array:
    ends = (VALID, OFFSETS, VALUES) if pa.types.is_large_string(kind) else (VALID, VALUES)
    places = [folder / f"{name}.{end}" for end in ends]
    empty = pa.py_buffer(b"")
    buffers = [pa.memory_map(str(place)).read_buffer() if place.stat().st_size else empty for place in places]
    return pa.Array.from_buffers(kind, rows, buffers)


class _Column:
    """The buffers of a column on their way, as Arrow has them in memory."""

    def __init__(self, folder: Path, name: str) -> None:
        self._files = {end: (folder / f"{name}.{end}").open("wb") for end in (VALUES, OFFSETS, VALID)}
        self._files[OFFSETS].write(np.zeros(1, dtype=np.int64).tobytes())
        self._bytes = 0
        self._bits = np.empty(0, dtype=bool)  # of the last, unfinished byte

    def __enter__(self) -> _Column:
        return self

    def add(self, array: pa.Array) -> None:
        """The next rows."""
        if not len(array):
            return
        bits = np.concatenate([self._bits, array.is_valid().to_numpy(zero_copy_only=False)])
        whole = len(bits) // 8 * 8
        self._files[VALID].write(np.packbits(bits[:whole], bitorder="little").tobytes())
        self._bits = bits[whole:]
        if not pa.types.is_large_string(array.type):
            self._files[VALUES].write(array.fill_null(0).to_numpy().tobytes())
            return
        _, offsets, values = array.buffers()
        ends = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
        if ends[-1] > ends[0]:
            self._files[VALUES].write(values[int(ends[0]) : int(ends[-1])])
        self._files[OFFSETS].write((ends[1:] - ends[0] + self._bytes).tobytes())
        self._bytes += int(ends[-1] - ends[0])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as stack:
            for file in self._files.values():
                stack.callback(file.close)
            self._files[VALID].write(np.packbits(self._bits, bitorder="little").tobytes())
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())
