"""Changes to small valid files that know what is in them: JSON values, cells, columns, lines, bytes, names."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Files = dict[str, bytes]

VALUES: tuple[Any, ...] = (
    None, "", " ", "a", "\u200b", "\x00", "\ud800", "é" * 600, "1e5", "NA", True, False, 0, -1, 3.5, 10**400, float("nan"),
    float("inf"), [], [[]], [None], ["a", 1], ["a", "a"], {}, {"a": {"b": []}}, [{"text": None}], [{"text": "a", "docid": 1}], "../x", "[1, 'a'", "['a']",
)  # fmt: skip

TOKENS: tuple[bytes, ...] = (
    b"", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\n", b"\r", b"\r\n", b"\t", b"\t\t", b" ", b'"', b"'", b"\\", b"\\u",
    b"\\ud800", b"{", b"}", b"[", b"]", b",", b":", b"NaN", b"-1", b"1e999", b"9" * 5000, b"[" * 3000, b"null", b"<top>", b"</top>", b"<num>", b"<!DOCTYPE x [<!ENTITY a 'b'>]>",
    b"&a;", b"&#0;", b"\xe2\x80\xa8", b"\x1f\x8b", b"PAR1", b"---\n", b"configs:\n- 1\n", b"q1\td1\t1\n", b"query-id\tcorpus-id\tscore\n",
)  # fmt: skip

TYPES = (
    pa.int64(), pa.float64(), pa.bool_(), pa.binary(), pa.null(), pa.list_(pa.string()), pa.list_(pa.int32()), pa.large_string(), pa.string_view(),
    pa.dictionary(pa.int8(), pa.string()), pa.timestamp("s"), pa.decimal128(5, 2), pa.struct([("text", pa.string())]), pa.map_(pa.string(), pa.string()),
)  # fmt: skip


def _span(chance: Random, size: int, most: int = 40) -> tuple[int, int]:
    start = chance.randrange(size + 1)
    return start, min(size, start + chance.randrange(most))


def _flip(chance: Random, data: bytes) -> bytes:
    if not data:
        return b"\x00"
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def _cut(chance: Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _remove(chance: Random, data: bytes) -> bytes:
    a, b = _span(chance, len(data))
    return data[:a] + data[b:]


def _repeat(chance: Random, data: bytes) -> bytes:
    a, b = _span(chance, len(data))
    return data[:b] + data[a:b] * chance.randrange(1, 4) + data[b:]


def _insert(chance: Random, data: bytes) -> bytes:
    a, b = _span(chance, len(data), 3)
    return data[:a] + chance.choice(TOKENS) + data[b:]


def _lines(chance: Random, data: bytes) -> bytes:
    rows = data.split(b"\n")
    a, b = chance.randrange(len(rows)), chance.randrange(len(rows))
    what = chance.randrange(4)
    if what == 0:
        rows[a], rows[b] = rows[b], rows[a]
    elif what == 1:
        del rows[a]
    elif what == 2:
        rows.insert(b, rows[a])
    else:
        rows[a] = chance.choice(TOKENS)
    return b"\n".join(rows)


def _cells(chance: Random, data: bytes) -> bytes:
    rows = data.split(b"\n")
    row = chance.randrange(len(rows))
    mark = b"\t" if b"\t" in rows[row] else b","
    cells = rows[row].split(mark)
    at = chance.randrange(len(cells))
    if chance.random() < 0.3:
        del cells[at]
    else:
        cells[at] = chance.choice(TOKENS)
    rows[row] = mark.join(cells)
    return b"\n".join(rows)


def _change(chance: Random, value: Any) -> Any:
    """A JSON value with one part of it changed."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice(list(value))
        made = dict(value)
        what = chance.random()
        if what < 0.15:
            del made[key]
        elif what < 0.25:
            made[chance.choice(["", "text", "_id", "a", "query", "\ud800"])] = made.pop(key)
        else:
            made[key] = _change(chance, made[key])
        return made
    if isinstance(value, list) and value and chance.random() < 0.7:
        at = chance.randrange(len(value))
        return [*value[:at], _change(chance, value[at]), *value[at + 1 :]]
    return chance.choice(VALUES)


def _json(chance: Random, data: bytes) -> bytes:
    try:
        return json.dumps(_change(chance, json.loads(data))).encode()
    except (ValueError, RecursionError):
        pass
    rows = data.split(b"\n")
    at = chance.randrange(len(rows))
    try:
        rows[at] = json.dumps(_change(chance, json.loads(rows[at]))).encode()
    except (ValueError, RecursionError):
        return _insert(chance, data)
    return b"\n".join(rows)


def _table(data: bytes) -> tuple[pa.Table, bool]:
    if data.startswith(b"PAR1"):
        return pq.read_table(io.BytesIO(data)), True
    return pa.ipc.open_stream(data).read_all(), False


def _columns(chance: Random, data: bytes) -> bytes:
    try:
        table, parquet = _table(data)
        table.validate(full=True)  # what an earlier change damaged ends pyarrow itself
        names, rows = table.column_names, table.num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return _flip(chance, data)
    if not names:
        return b""
    at = chance.randrange(len(names))
    name = names[at]
    what = chance.randrange(6)
    try:
        if what == 0:
            table = table.remove_column(at)
        elif what == 1:
            table = table.set_column(at, name, pa.nulls(rows, chance.choice(TYPES)))
        elif what == 2:
            table = table.set_column(at, name, pa.array([chance.choice(VALUES)] * rows))
        elif what == 3:
            table = table.set_column(at, chance.choice(["", "a", "text", *table.column_names]), table.column(at))
        elif what == 4:
            table = table.slice(0, chance.randrange(rows + 1))
        else:
            changed = [_change(chance, row) for row in table.to_pylist()]
            table = pa.Table.from_pylist([row for row in changed if isinstance(row, dict)] or [{"a": "b"}])
        sink = io.BytesIO()
        if parquet:
            pq.write_table(table, sink)
        else:
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
        return sink.getvalue()
    except (pa.ArrowException, TypeError, ValueError, OverflowError, NotImplementedError, OSError, SystemError):
        return _flip(chance, data)


_BYTES: tuple[Callable[[Random, bytes], bytes], ...] = (_flip, _cut, _remove, _repeat, _insert)
_TEXT = (*_BYTES, _lines, _cells, _json, _json, _json)


def mutate(chance: Random, files: Files) -> Files:
    """The files after one to four changes."""
    made = dict(files)
    for _ in range(chance.randrange(1, 5)):
        if not made:
            break
        name = chance.choice(sorted(made))
        data = made[name]
        if chance.random() < 0.06:
            what = chance.randrange(4)
            if what == 0:
                del made[name]
            elif what == 1:
                made[name] = b""
            elif what == 2:
                made[name] = gzip.compress(data)
            else:
                made[name] = made[chance.choice(sorted(made))]
            continue
        if data.startswith(b"\x1f\x8b") and chance.random() < 0.7:
            try:
                made[name] = gzip.compress(chance.choice(_TEXT)(chance, gzip.decompress(data)))
                continue
            except (OSError, EOFError, ValueError, zlib.error):
                pass
        columnar = data.startswith(b"PAR1") or name.endswith(".arrow")
        made[name] = chance.choice((*_BYTES, *[_columns] * 8) if columnar else _TEXT)(chance, data)
    return made
