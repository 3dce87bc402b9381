"""Rows of CSV, TSV, JSONL and Parquet files as mappings of column to value, with no type ever guessed."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from stages.datasets._helpers import LINE_BYTES, File, elements, lines, objects, refuse_irregular, repeated, utf8_fault
from stages.errors import ConfigError, InputError
from stages.records import Fault, shown

FORMATS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
ALL_FORMATS = {**FORMATS, ".json": "json", ".arrow": "arrow"}
SIDECARS = ("export.json", "ids.parquet", "state.json", "dataset_info.json", "dataset_dict.json", "dataset_infos.json")
"""Files beside the data that say something about them: our exporters' and those of `datasets`."""
_DELIMITERS = {"csv": ",", "tsv": "\t"}

Row = tuple[int, Mapping[str, Any]]  # physical line, or row of a Parquet file, from 1


def kind_of(name: str, formats: Mapping[str, str] = FORMATS) -> str | None:
    """The format by the suffix of a file's name; None when it has none of these."""
    stem = name.lower().removesuffix(".gz")
    return next((kind for suffix, kind in formats.items() if stem.endswith(suffix)), None)


def files_at(path: str, formats: Collection[str]) -> list[File]:
    """The file at a path, or every file with one of these suffixes in the folder and below it, hidden ones not.

    A file of a folder is named by its path in it. Raises InputError when there is none.
    """
    place, known = Path(path), {suffix: suffix for suffix in formats}
    if place.is_dir():
        inner = sorted(p.relative_to(place) for p in place.rglob("*") if not p.is_dir() and p.name not in SIDECARS)
        shown_ = [p for p in inner if not any(part[0] == "." for part in p.parts)]
        found = [File(p.as_posix(), place / p) for p in shown_ if kind_of(p.name, known)]
    else:
        found = [File(place.name, place)] if place.exists() and kind_of(place.name, known) else []
    if not found:
        what = "no file of this format" if place.exists() else "the data set is not there"
        raise InputError(what, where=path, try_=f"a file, or a folder of files, that end in {', '.join(formats)}")
    return found


def first_row(file: File) -> Mapping[str, Any]:
    """The first row that can be read, all its columns; empty when there is none."""
    names = columns(file)
    return next((item[1] for item in rows(file, names, names) if not isinstance(item, Fault)), {})


def tab_lines(file: File, widths: Collection[int], what: str) -> Iterator[tuple[int, list[str]] | Fault]:
    """The fields of each line of a file without header or quoting, where their number is one of `widths`."""
    for number, offset, line in lines(file):
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            yield utf8_fault(file, number, offset, error)
            continue
        fields = text.split("\t")
        if len(fields) in widths:
            yield number, fields
        elif text.strip():
            reason = f"{len(fields)} fields where {' or '.join(map(str, sorted(widths)))} belong"
            yield Fault(file.name, number, None, None, reason, f"write {what} with one tab between them")


def columns(file: File) -> list[str]:
    """The columns of a file in their order; of JSON and JSONL, the keys of its first object. Raises InputError."""
    kind = kind_of(file.name, ALL_FORMATS)
    if kind in ("parquet", "arrow"):
        with _columnar(file, kind) as handle:
            return list(handle.schema.names)
    if kind in ("jsonl", "json"):
        found = _keys(file)
    else:
        line, found, fault = next(iter(_records(file)), (0, [], None))
        if fault:
            raise InputError(fault.reason, where=f"{file.path} line {line}, the header", try_=fault.mend)
    if not found:
        raise InputError("the file has no rows", where=str(file.path))
    if (twice := repeated(found)) is not None:
        where = f"{file.path} line 1"
        raise InputError(f"the column {shown(twice)!r} occurs twice", where=where, try_="give each column its own name")
    return found


def _keys(file: File) -> list[str]:
    first: Fault | None = None
    for item in elements(file) if kind_of(file.name, ALL_FORMATS) == "json" else objects(file):
        if not isinstance(item, Fault):
            return list(item[1])
        first = first or item
    if first:
        raise InputError(
            f"no line can be read: {first.reason}", where=f"{file.path} line {first.line}", try_=first.mend
        )
    return []


def schema_of(file: File) -> pa.Schema:
    """The columns and types of a Parquet or Arrow file. Raises InputError."""
    with _columnar(file, str(kind_of(file.name, ALL_FORMATS))) as handle:
        return handle.schema


def rows(file: File, wanted: Collection[str], typed: Collection[str] = (), batch: int = 8192) -> Iterator[Row | Fault]:
    """The rows of a file; of a Parquet or Arrow file, the wanted columns alone, as strings but for those in `typed`.

    Of a Parquet file `batch` rows are held at once.

    Raises InputError where the file cannot be read on, ConfigError for a column of another type.
    """
    kind = kind_of(file.name, ALL_FORMATS)
    if kind in ("parquet", "arrow"):
        yield from _columnar_rows(file, kind, wanted, typed, batch)
    elif kind == "json":
        yield from elements(file)
    elif kind == "jsonl":
        yield from objects(file)
    else:
        yield from _delimited_rows(file)


def _delimited_rows(file: File) -> Iterator[Row | Fault]:
    header: list[str] = []
    for line, cells, fault in _records(file):
        if not header:
            header = cells
        elif fault:
            yield fault
        elif len(cells) != len(header):
            reason = f"{len(cells)} cells where the header has {len(header)}"
            yield Fault(
                file.name, line, None, None, reason, "put cells that hold a delimiter or a line end in double quotes"
            )
        else:
            yield line, dict(zip(header, cells, strict=True))


def _records(file: File) -> Iterator[tuple[int, list[str], Fault | None]]:
    """Records of a delimited file: the line that each begins on, its cells as text, and what is wrong with its bytes."""
    bad: list[Fault] = []

    def decoded() -> Iterator[str]:
        for number, offset, line in lines(file):
            try:
                yield line.decode() + "\n"
            except UnicodeDecodeError as error:
                bad.append(utf8_fault(file, number, offset, error))
                yield line.decode(errors="replace") + "\n"

    csv.field_size_limit(max(csv.field_size_limit(), LINE_BYTES))
    reader = csv.reader(decoded(), delimiter=_DELIMITERS[kind_of(file.name) or "csv"], strict=True)
    begin = 1
    try:
        for cells in reader:
            if cells:
                yield begin, cells, bad[0] if bad else None
            bad.clear()
            begin = reader.line_num + 1
    except csv.Error as error:
        what, mend = (
            "the quotes of a cell do not match",
            'close the quote, and write a quote inside a quoted cell twice: ""',
        )
        if "new-line" in str(error):
            what, mend = "a carriage return stands outside of quotes", r"end lines with LF or CR LF: tr '\r' '\n'"
        raise InputError(
            f"{what}, and where the next row begins cannot be told",
            where=f"{file.path} line {begin}",
            got=str(error),
            try_=mend,
        ) from None


class _Columnar(NamedTuple):
    schema: pa.Schema
    batches: Callable[[list[str]], Iterable[pa.RecordBatch]]


@contextmanager
def _columnar(file: File, kind: str, batch: int = 8192) -> Iterator[_Columnar]:
    """A Parquet file, or a stream of record batches as `save_to_disk` writes it."""
    refuse_irregular(file)
    with ExitStack() as stack:
        try:
            if kind == "parquet":
                table = stack.enter_context(pq.ParquetFile(file.path))
                found = _Columnar(table.schema_arrow, lambda names: table.iter_batches(batch_size=batch, columns=names))
            else:
                stream = pa.ipc.open_stream(stack.enter_context(pa.OSFile(str(file.path))))
                found = _Columnar(stream.schema, lambda names: (_sound(batch.select(names)) for batch in stream))
            names = list(found.schema.names)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            what = f"the {kind.capitalize()} file cannot be read"
            raise InputError(what, where=str(file.path), got=shown(str(error)), try_="write it again") from None
        if (twice := repeated(names)) is not None:
            what = f"the column {shown(twice)!r} occurs twice"
            raise InputError(what, where=str(file.path), try_="give each column its own name")
        yield found


def _sound(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch. Raises ArrowInvalid where its offsets lead out of its bytes: a stream of Arrow has no checksums."""
    for column in batch.columns:
        column.view(_as_bytes(column.type)).validate(full=True)
    return batch


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    """A type with bytes for its strings, whose UTF-8 is looked at row by row."""
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_as_bytes(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_as_bytes(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_as_bytes(field.type)) for field in kind])
    return {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}.get(
        kind, kind
    )


def _columnar_rows(
    file: File, kind: str, wanted: Collection[str], typed: Collection[str], batch: int
) -> Iterator[Row | Fault]:
    with _columnar(file, kind, batch) as handle:
        names = [name for name in handle.schema.names if name in wanted]
        for name in names:
            if name not in typed:
                _check_type(file, name, handle.schema.field(name).type)
        line = 0
        try:
            for some in handle.batches(names):
                values = [_values(column) for column in some.columns]
                for cells in zip(*values, strict=True):
                    line += 1
                    broken = next((n for n, cell in zip(names, cells, strict=True) if isinstance(cell, _Broken)), None)
                    if broken is None:
                        yield line, dict(zip(names, cells, strict=True))
                    else:
                        yield Fault(file.name, line, broken, None, *cells[names.index(broken)].says)
        except (pa.ArrowException, OSError) as error:
            where = f"{file.path} after row {line}"
            what = f"the {kind.capitalize()} file is damaged"
            raise InputError(what, where=where, got=shown(str(error)), try_="write it again") from None


class _Broken:
    """A value of a string column that is not UTF-8."""

    def __init__(self, error: UnicodeDecodeError) -> None:
        byte = error.object[error.start]
        self.says = f"invalid UTF-8: 0x{byte:02x} at byte {error.start} of the value", "write the column as UTF-8"


def _values(column: pa.Array) -> list[Any]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return [_value(cell) for cell in column]


def _value(cell: pa.Scalar) -> Any:
    try:
        return cell.as_py()
    except UnicodeDecodeError as error:
        return _Broken(error)


def _check_type(file: File, name: str, kind: pa.DataType) -> None:
    inner = (
        kind.value_type
        if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_dictionary(kind)
        else kind
    )
    if not (
        pa.types.is_string(inner)
        or pa.types.is_large_string(inner)
        or pa.types.is_null(inner)
        or pa.types.is_string_view(inner)
    ):
        raise ConfigError(
            f"the column {name!r} is {kind}, and strings are needed",
            where=str(file.path),
            try_=f"write the column {name!r} as strings, as its values are meant: 0001 and 1 are two ids",
        )
