"""Vectors of an earlier result of the same workspace, found again by what was encoded.

The result that a run replaces stays in its place until the new one is whole, so a killed run, and every worker of it, finds
the same. A vector is taken over as it is stored, to the bit. Memory is 12 bytes for each earlier row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from stages.errors import HardrockError
from stages.schemas import KEYED
from stages.spec import Context, Source

MADE_WITH = "made_with"
"""The fact of a result that says what made its vectors, texts aside."""

_GAP = 65_536
"""Rows between two wanted ones from which on reading begins anew."""


def keys(prompts: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    """A hash of each prompt and text: 16 bytes each, uint64 (n, 2). Equal hash, same input of the model.

    A text's prompt begins with `=` or is empty, so that other words can stand for what is no text.
    """
    found = bytearray()
    for prompt, text in zip(prompts, texts, strict=True):
        data = prompt.encode("utf-8", "surrogatepass")
        state = hashlib.blake2b(len(data).to_bytes(8, "little") + data, digest_size=16)
        state.update(text.encode("utf-8", "surrogatepass"))
        found += state.digest()
    return np.frombuffer(found, dtype="<u8").reshape(-1, 2)


def picture_keys(images: Sequence[bytes]) -> np.ndarray:
    """A hash of each picture's encoded bytes, which no text has: uint64 (n, 2)."""
    return keys(["picture"] * len(images), [hashlib.sha256(image).hexdigest() for image in images])


def earlier(context: Context, table: str, made_with: str) -> Earlier | None:
    """What the workspace's earlier result can give; None where there is none, or where other weights or settings made it."""
    tables: Mapping[str, Source] = getattr(context, "earlier", {})
    source = tables.get(table)
    if source is None or source.facts.get(MADE_WITH) != made_with or not source.rows:
        return None
    try:
        return Earlier(source)
    except HardrockError as error:
        context.log(f"the earlier {table} cannot be read, so all are encoded: {error.what}")
        return None


class Earlier:
    """An earlier table of vectors."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._columns = [name for name in source.schema.names if name != "row"]
        found = [_keys(batch.column(0))[:, 0] for batch in source.batches([KEYED[0].name])]
        starts = np.concatenate(found)
        self._order = np.argsort(starts, kind="stable").astype(np.int32)
        self._starts = starts[self._order]

    def take(self, wanted: np.ndarray) -> tuple[np.ndarray, pa.Table | None]:
        """Which of the keys uint64 (n, 2) were found, int64 (m,) places, and their stored columns in that order."""
        starts = wanted[:, 0]
        place = np.searchsorted(self._starts, starts)
        place[place == len(self._starts)] = 0
        there = np.flatnonzero(self._starts[place] == starts)
        rows = self._order[place[there]].astype(np.int64)
        distinct, inverse = np.unique(rows, return_inverse=True)
        if not len(distinct):
            return there, None
        stored = self._rows(distinct).take(pa.array(inverse))
        same = (_keys(stored.column("key").combine_chunks()) == wanted[there]).all(axis=1)
        return there[same], stored.filter(pa.array(same))

    def _rows(self, rows: np.ndarray) -> pa.Table:
        """The stored columns of ascending rows."""
        found: list[pa.RecordBatch] = []
        done = 0
        while done < len(rows):
            start = int(rows[done])
            for batch in self._source.batches(self._columns, rows=8_192, start=start):
                stop = int(np.searchsorted(rows, start + batch.num_rows))
                found.append(batch.take(pa.array(rows[done:stop] - start)))
                start, done = start + batch.num_rows, stop
                if done == len(rows) or rows[done] > start + _GAP:
                    break
        return pa.Table.from_batches(found)


def keyed(table: pa.Table, of: np.ndarray, truncated: np.ndarray) -> pa.Table:
    """A table of vectors with what was encoded: keys uint64 (n, 2) and which texts were cut, bool (n,)."""
    values: tuple[Any, Any] = (
        pa.FixedSizeBinaryArray.from_buffers(KEYED[0].type, len(of), [None, pa.py_buffer(of.tobytes())]),
        pa.array(truncated, pa.bool_()),
    )
    for field, column in zip(KEYED, values, strict=True):
        table = table.append_column(field, column)
    return table


def _keys(column: pa.FixedSizeBinaryArray) -> np.ndarray:
    """uint64 (n, 2)"""
    data = np.frombuffer(column.buffers()[1] or b"", dtype="<u8").reshape(-1, 2)
    return data[column.offset : column.offset + len(column)]
