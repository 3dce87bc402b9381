"""Targets whose rows may be written in pieces, by several processes, and are then joined in order.

A piece is a folder with the rows of some whole queries: `data/`, `ids.parquet`, and `piece.json` with what was counted. A format
of one file is joined byte after byte, a format of Parquet files has the files of each piece, and `ids.parquet` is written anew
where there are several.
What hangs on no triplet, such as a corpus, is a piece of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from stages.errors import YieldError
from stages.exporters._common import BATCH, Summary, Texts, dumps, exactly, export
from stages.exporters._parquet import id_rows, write_with_ids
from stages.registry import Member
from stages.spec import Source

IDS, NOTE = "ids.parquet", "piece.json"
_LOOK = 1_024  # rows that are read at once to find where a query begins


class Portion:
    """A `Source` of the triplets of those queries that begin in rows `start` to `stop` of another."""

    def __init__(self, source: Source, start: int, stop: int) -> None:
        self._source, self._start, self._stop = source, _begins(source, start), _begins(source, stop)

    @property
    def rows(self) -> int:
        return self._stop - self._start

    @property
    def schema(self) -> pa.Schema:
        return self._source.schema

    @property
    def parts(self) -> tuple[str, ...]:
        return ("portion",)

    @property
    def facts(self) -> Mapping[str, Any]:
        return self._source.facts

    def read(self, columns: Sequence[str] | None = None, part: str | None = None) -> pa.Table:
        schema = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        return pa.Table.from_batches(self.batches(columns), schema)

    def batches(
        self, columns: Sequence[str] | None = None, rows: int = 65_536, start: int = 0
    ) -> Iterator[pa.RecordBatch]:
        left = self.rows - start
        for batch in self._source.batches(columns, rows, self._start + start) if left > 0 else ():
            yield batch.slice(0, left)
            left -= batch.num_rows
            if left <= 0:
                return

    def path(self) -> Path:
        return self._source.path()


def _begins(triplets: Source, row: int) -> int:
    """The first row from `row` on at which a query begins; the number of rows where none does."""
    if row <= 0 or row >= triplets.rows:
        return min(max(row, 0), triplets.rows)
    before, at = None, row - 1
    for batch in triplets.batches(("query_row",), _LOOK, row - 1):
        queries = batch.column(0).to_pylist()
        before = queries[0] if before is None else before
        for query in queries:
            if query != before:
                return at
            at += 1
    return triplets.rows


class Pieced(Member):
    """Base of these targets."""

    @property
    @abstractmethod
    def sidecar(self) -> pa.Schema:
        """The columns of `ids.parquet`."""

    @abstractmethod
    def rows_of(
        self, triplets: Source, texts: Texts, folder: Path, left_out: Counter[str], escaped: Counter[str]
    ) -> int:
        """Writes the rows of these triplets, `data/` and `ids.parquet`, into the new `folder`; returns their number."""

    @abstractmethod
    def joined(self, pieces: Sequence[Path], folder: Path) -> tuple[str, ...]:
        """Makes the data files in `folder` out of those of the pieces, in order; returns their names."""

    @property
    def accompanied(self) -> bool:
        """Whether there are files besides the rows."""
        return False

    def others(self, texts: Texts, folder: Path, escaped: Counter[str]) -> tuple[str, ...]:
        """Writes the files besides the rows into the new `folder`; returns their names."""
        return ()

    def piece(self, triplets: Source, texts: Texts, folder: Path) -> None:
        """Writes a piece into the new `folder`. Raises InputError for a text that no trainer takes."""
        folder.mkdir(parents=True)
        left_out, escaped = Counter[str](), Counter[str]()
        rows = self.rows_of(triplets, texts, folder, left_out, escaped)
        _note(folder, {"rows": rows, "left_out": left_out, "escaped": escaped, "files": []})

    def piece_of_others(self, texts: Texts, folder: Path) -> None:
        """Writes what hangs on no triplet as a piece into the new `folder`. Raises InputError."""
        folder.mkdir(parents=True)
        escaped = Counter[str]()
        files = self.others(texts, folder, escaped)
        _note(folder, {"rows": 0, "left_out": {}, "escaped": escaped, "files": files})

    def join(self, pieces: Sequence[Path], others: Path | None, triplets: Source, folder: Path) -> Summary:
        """Writes the target into the new `folder`. Raises YieldError for no rows, InputError."""
        notes = [json.loads((one / NOTE).read_bytes()) for one in (*pieces, *((others,) if others else ()))]
        escaped = Counter[str]()
        for note in notes:
            escaped.update(note["escaped"])

        def write(left_out: Counter[str]) -> tuple[int, tuple[str, ...]]:
            for note in notes:
                left_out.update(note["left_out"])
            rows = sum(note["rows"] for note in notes)
            if not rows:
                return 0, ()
            files = self.joined(pieces, folder)
            if len(pieces) == 1:
                link(pieces[0] / IDS, folder / IDS)
            else:
                _join_ids(pieces, self.sidecar, folder)
            for name in notes[-1]["files"]:
                assert others is not None
                link(others / name, folder / name)
            return rows, (*files, *notes[-1]["files"])

        return export(self, sys.modules[type(self).__module__].CHECKED, folder, triplets, write, escaped)

    def write(self, triplets: Source, texts: Texts, folder: Path) -> Summary:
        """Writes the target into the new `folder`, in one piece. Raises InputError for a text that no trainer takes, YieldError."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".pieces-", dir=folder.parent) as made:
            rows, others = Path(made) / "rows", Path(made) / "others"
            self.piece(triplets, texts, rows)
            if self.accompanied:
                self.piece_of_others(texts, others)
            return self.join([rows], others if self.accompanied else None, triplets, folder)


class Framed(NamedTuple):
    """How objects become one file: lines of JSON, or with other values one JSON document.

    `typed` says that the loader guesses the types of JSON lines, as `datasets` does.
    """

    name: str = "data/train.jsonl"
    head: bytes = b""
    between: bytes = b"\n"
    tail: bytes = b"\n"
    typed: bool = True


class OneFile(Pieced):
    """Base of the formats of one file. A piece of it has neither head nor tail."""

    @property
    def framed(self) -> Framed:
        """How its rows become one file."""
        return Framed()

    def joined(self, pieces: Sequence[Path], folder: Path) -> tuple[str, ...]:
        """The frame with the rows of all pieces in it."""
        frame = self.framed
        (folder / frame.name).parent.mkdir(parents=True)
        with (folder / frame.name).open("wb") as file:
            file.write(frame.head)
            filled = [place for piece in pieces if (place := piece / frame.name).stat().st_size]
            for number, place in enumerate(filled):
                if number:
                    file.write(frame.between)
                with place.open("rb") as piece:
                    shutil.copyfileobj(piece, file, 1 << 20)
            file.write(frame.tail)
        return (frame.name,)


Batches = Iterator[tuple[pa.Table, pa.Table]]


class Files(Pieced):
    """Base of the formats of Parquet files: which columns there are, and which ids are beside them."""

    rows_per_file: int = Field(
        500_000,
        ge=1,
        description="rows in one Parquet file at most; a new one begins with each `export.shard_triplets` too",
    )

    @property
    @abstractmethod
    def data(self) -> pa.Schema:
        """The columns that the trainer reads, in order."""

    @abstractmethod
    def _batches(self, triplets: Source, texts: Texts, left_out: Counter[str]) -> Batches:
        """The rows of both, and in `left_out` what makes none."""

    def rows_of(
        self, triplets: Source, texts: Texts, folder: Path, left_out: Counter[str], escaped: Counter[str]
    ) -> int:
        """Files of `rows_per_file` rows, and the ids."""
        batches = self._batches(triplets, texts, left_out)
        return write_with_ids(folder, self.data, self.sidecar, self.rows_per_file, batches)[0]

    def joined(self, pieces: Sequence[Path], folder: Path) -> tuple[str, ...]:
        """The files of all pieces, numbered anew."""
        found = [path for piece in pieces for path in sorted((piece / "data").glob("*.parquet"))]
        names = tuple(f"data/train-{i:05d}-of-{len(found):05d}.parquet" for i in range(len(found)))
        for path, name in zip(found, names, strict=True):
            link(path, folder / name)
        return names


def taken_over(name: str, places: Sequence[Path], folder: Path) -> Summary:
    """A target that was written whole, as its only piece, under its own name. Raises YieldError where there is none."""
    if not places:
        raise YieldError(f"{name}: there are no triplets to export", try_="loosen the filters of judge")
    (place,) = places
    for path in sorted(place.rglob("*")):
        if path.is_file():
            link(path, folder / path.relative_to(place))
    said = json.loads((place / "export.json").read_bytes())
    files = tuple(name for name in said["files"] if name != IDS)
    return Summary(said["rows"], files, said["left_out"], said["escaped"])


def link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy where that cannot be."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _note(folder: Path, note: Mapping[str, Any]) -> None:
    (folder / NOTE).write_text(dumps(note) + "\n", encoding="utf-8")


def _join_ids(pieces: Sequence[Path], schema: pa.Schema, folder: Path) -> None:
    with id_rows(folder, schema) as sidecar:
        for table in exactly(_ids(pieces), BATCH):
            sidecar.write(table.cast(schema))  # Parquet has names of its own for what is in a list


def _ids(pieces: Sequence[Path]) -> Iterator[pa.Table]:
    for piece in pieces:
        with pq.ParquetFile(piece / IDS) as file:
            yield from (pa.Table.from_batches([batch]) for batch in file.iter_batches(BATCH))
