"""The inputs of a stage as files: every byte is checked against its manifest before it is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.fingerprint import sha256
from pipeline.manifest import Manifest, Stored
from stages.errors import ArtefactError
from stages.schemas import TABLES

_checked: set[tuple[Path, str]] = set()


def check(folder: Path, stored: Stored) -> Path:
    """The path of a stored file once its size and sha256 are right. Raises ArtefactError. Checks once a process."""
    path = folder / stored.file
    if (path, stored.sha256) in _checked:
        return path
    if not path.is_file():
        mend = f"remove {folder} so that the stage runs again"
        raise ArtefactError("a file of the workspace is missing", where=str(path), try_=mend)
    size = path.stat().st_size
    if size != stored.bytes:
        raise _damaged(folder, path, f"{size} bytes, not {stored.bytes}")
    found = sha256(path)
    if found != stored.sha256:
        raise _damaged(folder, path, f"sha256 {found}, not {stored.sha256}")
    _checked.add((path, stored.sha256))
    return path


def _damaged(folder: Path, path: Path, got: object) -> ArtefactError:
    mend = f"remove {folder} so that the stage runs again"
    return ArtefactError("a file of the workspace is damaged", where=str(path), got=got, try_=mend)


def _recheck(folder: Path, stored: Stored) -> None:
    """Raises ArtefactError when a file that was checked has another size by now: the end of a map of it then reads as zeros."""
    path = folder / stored.file
    if (path, stored.sha256) in _checked and (size := path.stat().st_size if path.is_file() else 0) != stored.bytes:
        _checked.discard((path, stored.sha256))
        raise _damaged(folder, path, f"{size} bytes, not {stored.bytes}, after it was read")


class FileSource:
    """A file or a folder of a stage's result."""

    def __init__(self, folder: Path, name: str, manifest: Manifest, facts: Mapping[str, Any]) -> None:
        self._folder, self._name, self._manifest = folder, name, manifest
        self.facts = facts

    def path(self) -> Path:
        for stored in self._manifest.record.files[self._name]:
            check(self._folder, stored)
        return self._folder / self._name

    def recheck(self) -> None:
        for stored in self._manifest.record.files.get(self._name, ()):  # an input may be absent
            _recheck(self._folder, stored)


class TableSource:
    """A table of a stage's result, in one Parquet file a part."""

    def __init__(self, folder: Path, name: str, manifest: Manifest, facts: Mapping[str, Any]) -> None:
        self._folder, self._name = folder, name
        self.facts = facts
        self._stored = manifest.record.tables.get(name, ())

    @property
    def rows(self) -> int:
        return sum(stored.rows or 0 for stored in self._stored)

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(stored.file for stored in self._stored)

    @property
    def schema(self) -> pa.Schema:
        if not self._stored:
            return TABLES[self._name]
        with self._open(self._stored[0]) as file:
            return file.schema_arrow

    def read(self, columns: Sequence[str] | None = None, part: str | None = None) -> pa.Table:
        chosen = [stored for stored in self._stored if part is None or stored.file == part]
        if not chosen:
            schema = self.schema
            return (schema if columns is None else pa.schema([schema.field(c) for c in columns])).empty_table()
        tables = []
        for stored in chosen:
            with self._open(stored) as file, self._reading(stored):
                tables.append(file.read(columns=_listed(columns)))
        return pa.concat_tables(tables)

    def batches(
        self, columns: Sequence[str] | None = None, rows: int = 65_536, start: int = 0
    ) -> Iterator[pa.RecordBatch]:
        for stored in self._stored:
            if start and start >= (stored.rows or 0):
                start -= stored.rows or 0
                continue
            with self._open(stored) as file:
                groups, skip = _groups(file.metadata, start)
                batches = file.iter_batches(batch_size=rows, row_groups=groups, columns=_listed(columns))
                while True:
                    with self._reading(stored):
                        batch = next(batches, None)
                    if batch is None:
                        break
                    if skip < batch.num_rows:
                        yield batch.slice(skip)
                    skip = max(skip - batch.num_rows, 0)
            start = 0

    def path(self) -> Path:
        return self._folder

    def recheck(self) -> None:
        for stored in self._stored:
            _recheck(self._folder, stored)

    @contextmanager
    def _reading(self, stored: Stored) -> Iterator[None]:
        """A file that was whole when it was opened, and is not any more."""
        try:
            yield
        except (pa.ArrowCancelled, MemoryError):
            raise
        except (pa.ArrowException, OSError) as error:
            raise _damaged(self._folder, self._folder / stored.file, f"{error}, while it was read") from None

    def _open(self, stored: Stored) -> pq.ParquetFile:
        path = check(self._folder, stored)
        try:
            file = pq.ParquetFile(path, page_checksum_verification=True, memory_map=True)
        except (pa.ArrowException, OSError) as error:
            raise ArtefactError(
                "a file of the workspace is not Parquet", where=str(path), got=error, try_=f"remove {self._folder}"
            ) from None
        expected = TABLES.get(self._name)
        if expected is not None and not file.schema_arrow.equals(expected):
            raise ArtefactError(
                f"the table {self._name} has other columns than this version writes",
                where=str(path),
                got=", ".join(file.schema_arrow.names),
                try_=f"remove {self._folder} so that the stage runs again",
            )
        return file


def _groups(metadata: pq.FileMetaData, start: int) -> tuple[list[int], int]:
    """The row groups from that of row `start` on, and how many rows of the first lie before it."""
    for group in range(metadata.num_row_groups):
        size = metadata.row_group(group).num_rows
        if start < size:
            return list(range(group, metadata.num_row_groups)), start
        start -= size
    return [], 0


def _listed(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else list(columns)
