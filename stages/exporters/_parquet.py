"""Parquet files of exports: row groups that a viewer reads one by one, and data split into files that are numbered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP_ROWS = 10_000  # so that the viewer of the Hugging Face Hub shows a page without reading much more
ROW_GROUP_BYTES = 64 << 20


class RowGroups:
    """One Parquet file, written in row groups of bounded rows and bytes. Equal rows give equal bytes.

    A dictionary of the values helps where whole texts repeat; of ids and numbers it is larger than they are.
    """

    def __init__(self, path: Path, schema: pa.Schema, rows: int = ROW_GROUP_ROWS, dictionary: bool = True) -> None:
        self._rows = rows
        self._writer = pq.ParquetWriter(
            path,
            schema,
            compression="zstd",
            use_dictionary=dictionary,
            write_page_index=True,
            write_page_checksum=True,
            use_content_defined_chunking=True,
        )
        self._held: list[pa.Table] = []
        self._count = self._bytes = 0

    def __enter__(self) -> RowGroups:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def write(self, table: pa.Table) -> None:
        """Adds rows of the file's schema."""
        while table.num_rows:
            taken = table.slice(0, self._rows - self._count)
            table = table.slice(taken.num_rows)
            self._held.append(taken)
            self._count, self._bytes = self._count + taken.num_rows, self._bytes + taken.nbytes
            if self._count == self._rows or self._bytes >= ROW_GROUP_BYTES:
                self._flush()

    def _flush(self) -> None:
        if self._held:
            table = pa.concat_tables(self._held).combine_chunks()  # where pages end depends on the chunks
            self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
            self._held, self._count, self._bytes = [], 0, 0


def id_rows(folder: Path, schema: pa.Schema) -> RowGroups:
    """`ids.parquet` of a target."""
    return RowGroups(folder / "ids.parquet", schema, dictionary=False)


class Split:
    """`data/train-00000-of-0000N.parquet` and those after it, each with at most `rows_per_file` rows, `group` in a row group."""

    def __init__(
        self, folder: Path, schema: pa.Schema, rows_per_file: int, name: str = "data/train", group: int = ROW_GROUP_ROWS
    ) -> None:
        inner, self._name = name.split("/")
        self._folder, self._schema, self._limit, self._group = folder / inner, schema, rows_per_file, group
        self._folder.mkdir(parents=True)
        self._paths: list[Path] = []
        self._file: RowGroups | None = None
        self._room = 0
        self.rows = 0

    def write(self, table: pa.Table) -> None:
        """Adds rows of the schema."""
        self.rows += table.num_rows
        while table.num_rows:
            if self._file is None or self._room == 0:
                self._finish()
                self._paths.append(self._folder / f"{len(self._paths)}.parquet")
                self._file, self._room = RowGroups(self._paths[-1], self._schema, self._group), self._limit
            self._file.write(table.slice(0, self._room))
            taken = min(self._room, table.num_rows)
            table, self._room = table.slice(taken), self._room - taken

    def close(self) -> tuple[str, ...]:
        """Gives the files their names, which hold their number, and returns these relative to the target's folder."""
        self._finish()
        names = [f"{self._name}-{i:05d}-of-{len(self._paths):05d}.parquet" for i in range(len(self._paths))]
        for path, name in zip(self._paths, names, strict=True):
            path.rename(self._folder / name)
        return tuple(f"{self._folder.name}/{name}" for name in names)

    def _finish(self) -> None:
        if self._file is not None:
            self._file.__exit__(None, None, None)
            self._file = None


def write_with_ids(
    folder: Path,
    data: pa.Schema,
    ids: pa.Schema,
    rows_per_file: int,
    batches: Iterator[tuple[pa.Table, pa.Table]],
) -> tuple[int, tuple[str, ...]]:
    """Writes the data and, in the same row order, `ids.parquet`; returns the rows and the data files' names."""
    split = Split(folder, data, rows_per_file)
    with id_rows(folder, ids) as sidecar:
        for texts, names in batches:
            split.write(texts)
            sidecar.write(names)
    return split.rows, split.close()
