"""A workspace on disk and the commit routine. Nothing else writes into a workspace.

A file is written under a temporary name in its own folder, flushed to the disk and renamed. A stage's files gather in
`.building/`, with a record a finished shard; when all shards are there the manifest is written last, and the folder takes
its final name in one rename. So a final name never shows a partial result, an earlier result stays whole until the next
one is complete, and a killed stage goes on from its last finished shard.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.fingerprint import digest, sha256
from pipeline.lock import claimed
from pipeline.manifest import Manifest, Record, Stored, prove, proven, read, spelled
from stages.errors import ArtefactError, HardrockError, StorageError
from stages.spec import Part, Shard

ROW_GROUP = 128 * 1024
"""Rows of a Parquet row group; fewer where rows are wide, so that a group stays below `GROUP_BYTES`."""

GROUP_BYTES = 128 * 1024 * 1024

CLAIMS = ".claims"
"""The file whose bytes stand for shards: who works on one locks its byte."""

OLD = ".old"
"""Ends the name of an earlier result while it steps aside."""


_CODES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE)

REFUSALS = (*(os.strerror(code) for code in _CODES), "PytorchStreamWriter failed", "inline_container.cc")
"""What C++ writers say when the file system refuses. FAISS, safetensors and torch raise no OSError."""


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turns what the file system or a writing library says into a StorageError that names the path."""
    try:
        yield
    except HardrockError:
        raise
    except Exception as error:
        if not isinstance(error, OSError) and not any(says in str(error) for says in REFUSALS):
            raise
        place = getattr(error, "filename", None) or path
        raise StorageError(
            f"the file system refuses {path}"
            if str(place) == str(path)
            else f"the file system refuses {place}, for {path}",
            got=getattr(error, "strerror", None) or error,
            try_="free space or mend the permissions; what was complete is intact, and the same command goes on from there",
        ) from error


def sync(path: Path) -> None:
    """Flushes a file, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def commit(path: Path, write: Callable[[Path], None]) -> None:
    """Writes a file or a folder at `path` so that it is either whole or absent, also after a power loss."""
    temporary = path.with_name(f".{path.name}.tmp")
    with storing(path):
        make(path.parent)
        remove(temporary)
        try:
            write(temporary)
            for place in [temporary, *temporary.rglob("*")] if temporary.is_dir() else [temporary]:
                sync(place)
            if path.is_dir():
                remove(path)
            temporary.rename(path)
        except BaseException:
            with suppress(OSError):
                remove(temporary)
            raise
        sync(path.parent)


def make(folder: Path) -> None:
    """Makes a folder and those above it; their names outlive a power loss."""
    if not folder.is_dir():
        make(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def remove(path: Path) -> None:
    """Removes a file or a folder; it may be absent."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def commit_json(path: Path, value: Any) -> None:
    """Writes a JSON value, readable and in one spelling."""
    commit(path, lambda temporary: _write_bytes(temporary, spelled(value)))


def link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy where that cannot be: no file of a workspace is ever changed in its place."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        sync(target)


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def write_table(table: pa.Table, path: Path) -> None:
    """Writes a table as Parquet: with page checksums, row groups bounded in rows and bytes, vectors uncompressed."""
    lists = [field for field in table.schema if pa.types.is_fixed_size_list(field.type)]
    bytes_wide = [f"{field.name}.list.element" for field in lists if field.type.value_type == pa.int8()]
    bytes_a_row = table.nbytes / table.num_rows if table.num_rows else 1
    pq.write_table(
        table,
        path,
        row_group_size=max(1, min(ROW_GROUP, int(GROUP_BYTES / max(bytes_a_row, 1)))),
        compression="none" if lists else "zstd",
        # Parquet has no value of one byte and takes four for it; an index into a dictionary of 256 values is one.
        use_dictionary=[f.name for f in table.schema if pa.types.is_dictionary(f.type)] + bytes_wide,
        write_page_checksum=True,
    )


class Workspace:
    """A folder that holds the results of the stages."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def final(self, name: str) -> Path:
        """The folder of a complete result: `ingest`, `round-00/mine`."""
        return self.root / name

    def building(self, name: str) -> Path:
        return self.root / ".building" / name.replace("/", ".")

    def manifest(self, name: str) -> Manifest | None:
        return read(self.final(name) / "manifest.json")

    def lacks(self, name: str, manifest: Manifest) -> str | None:
        """The first file of a result that is missing or has another size; None when all are there."""
        for stored in manifest.record.stored():
            path = self.final(name) / stored.file
            if not path.is_file() or path.stat().st_size != stored.bytes:
                return stored.file
        return None

    def swap(self, name: str) -> None:
        """Gives a complete result its final name; an earlier result steps aside first and is then removed."""
        building, final = self.building(name), self.final(name)
        old = building.with_name(f"{building.name}{OLD}")
        with storing(final):
            for left in ("key", "shards", "scratch", "pieces"):
                remove(building / left)
            sync(building)
            make(final.parent)
            remove(self.root / "catalog.duckdb")  # its views may not fit any more
            remove(old)
            if final.exists():
                final.rename(old)
            building.rename(final)
            sync(final.parent)
            sync(building.parent)
            remove(old)

    def adopt(self, name: str, lender: Workspace, manifest: Manifest) -> None:
        """Takes a complete result over from another workspace, whose manifest of it is given.

        Its files are hard-linked, or copied where that cannot be: no file of a workspace is ever changed in its place.
        """
        source, building = lender.final(name), self.building(name)
        with storing(building):
            remove(building)
            make(building)
            for file in (*(stored.file for stored in manifest.record.stored()), "run.json"):
                make((building / file).parent)
                link(source / file, building / file)
            for place in [building, *(path for path in building.rglob("*") if path.is_dir())]:
                sync(place)
        commit_json(building / "manifest.json", manifest.as_json())
        self.swap(name)

    def recover(self) -> None:
        """Finishes or undoes what a killed run left: call it with the lock held, before anything is read.

        A result that is complete and only lacks its name gets it. One that stepped aside for a result that never came
        goes back. Temporaries of other runs are removed; unfinished shards stay.
        """
        with storing(self.root):
            left = sorted(self._begun()) if self.root.is_dir() else []
            for path in left:
                name = path.name.removesuffix(OLD).replace(".", "/")
                if not path.name.endswith(OLD) and self._is_complete(path):
                    self.swap(name)
            for path in left:
                name = path.name.removesuffix(OLD).replace(".", "/")
                if path.name.endswith(OLD) and path.exists():
                    if self._is_complete(path) and not self.final(name).exists():
                        make(self.final(name).parent)
                        path.rename(self.final(name))
                        sync(self.final(name).parent)
                    remove(path)
            for path in (*self.root.glob(".catalog.duckdb-*"), *self.root.glob("catalog.duckdb.tmp")):
                remove(path)

    def _is_complete(self, folder: Path) -> bool:
        try:
            return read(folder / "manifest.json") is not None
        except ArtefactError:
            remove(folder / "manifest.json")
            return False

    def drop(self, name: str) -> None:
        """Removes what was begun of a result that is not wanted any more."""
        with storing(self.building(name)):
            remove(self.building(name))

    def keep(self, names: Sequence[str]) -> None:
        """Removes what was begun for other results than the named ones."""
        known = {self.building(name) for name in names}
        with storing(self.root):
            for path in self._begun():
                if path not in known:
                    remove(path)

    def _begun(self) -> list[Path]:
        """What was begun. Raises ArtefactError where it lies elsewhere, so that nothing of others is taken for leftovers."""
        folder = self.root / ".building"
        if folder.is_symlink():
            raise ArtefactError(
                "a link where a folder of the workspace belongs",
                where=str(folder),
                got=os.readlink(folder),
                try_="remove the link",
            )
        return list(folder.glob("*"))


class Building:
    """A stage's result while it is being made."""

    def __init__(self, workspace: Workspace, name: str, key: str) -> None:
        """What is not there has yet to be begun, by `begin`."""
        self.workspace, self.name, self.key = workspace, name, key
        self.folder = workspace.building(name)
        self.scratch = self.folder / "scratch"
        self.pieces = self.folder / "pieces"
        self._records = self.folder / "shards"
        self._parts: dict[str, int] = {}

    @property
    def begun(self) -> bool:
        """Whether what is there was begun for this very result."""
        mark = self.folder / "key"
        with storing(self.folder):
            return mark.is_file() and mark.read_bytes() == self.key.encode()

    def begin(self) -> Building:
        """Makes the folders. What was begun for another result is removed. No other process may be at work on the stage."""
        with storing(self.folder):
            if not self.begun:
                remove(self.folder)
                make(self.folder)
                commit(self.folder / "key", lambda path: _write_bytes(path, self.key.encode()))
            make(self.scratch)
            make(self._records)
        return self

    def stored_whole(self, shard: Shard) -> Record | None:
        """What is stored of a shard; None when it is not finished, or a file of it is not as it was stored."""
        with storing(self.folder):
            record = self._recorded(shard)
            whole = record is not None and all(self._whole(stored) for stored in record.stored())
        return record if whole else None

    def recorded(self, shards: Sequence[Shard]) -> int:
        """How many of the shards have a record, whether or not it holds."""
        return sum((self._records / f"{shard}.json").is_file() for shard in shards)

    @contextmanager
    def alone(self, shard: Shard) -> Iterator[None]:
        """Holds a shard against every other process that works on the stage, on whatever machine."""
        with claimed(self._records / CLAIMS, int(digest(str(shard))[:12], 16)):
            yield

    def finished(self, shards: Sequence[Shard]) -> dict[Shard, Record]:
        """The shards that an earlier run has stored whole. Every other file left behind is removed."""
        done: dict[Shard, Record] = {}
        with storing(self.folder):
            for shard in shards:
                if (record := self.stored_whole(shard)) is not None:
                    done[shard] = record
            known = {self.folder / stored.file for record in done.values() for stored in record.stored()}
            known |= {self._records / f"{shard}.json" for shard in done}
            for path in sorted(self.folder.rglob("*")):
                inside = self.scratch in path.parents or path in (self.scratch, self._records, self.folder / "key")
                if path.is_file() and not inside and path not in known:
                    remove(path)
        return done

    def _recorded(self, shard: Shard) -> Record | None:
        """What was stored of a shard; None when it is not finished, or when its record is damaged."""
        path = self._records / f"{shard}.json"
        try:
            return Record.from_json(proven(path.read_bytes())) if path.is_file() else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def _whole(self, stored: Stored) -> bool:
        path = self.folder / stored.file
        return path.is_file() and path.stat().st_size == stored.bytes and sha256(path) == stored.sha256

    def store(self, part: Part) -> Record:
        """Stores one part's tables and files, and says what was stored."""
        tables: dict[str, tuple[Stored, ...]] = {}
        files: dict[str, tuple[Stored, ...]] = {}
        for name, table in part.tables.items():
            path = self.folder / f"{name}-{self._index(name, part.shard):05d}.parquet"
            commit(path, lambda temporary, table=table: write_table(table, temporary))  # type: ignore[misc]
            tables[name] = (self._stored(path, table.num_rows),)
        for name, write in part.files.items():
            files[name] = self._written(self.folder / name, write)
        pieces = [one for name, write in part.pieces.items() for one in self._written(self.pieces / name, write)]
        return Record(tables, files, part.counters, part.facts, tuple(pieces))

    def _written(self, path: Path, write: Callable[[Path], None]) -> tuple[Stored, ...]:
        """A file, or all files of a folder."""
        commit(path, write)
        inside = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        return tuple(self._stored(one) for one in inside)

    def _index(self, table: str, shard: Shard) -> int:
        """A table of a sharded stage takes the shard's number; a whole stage counts its parts."""
        if shard.name != "whole":
            return shard.index
        self._parts[table] = self._parts.get(table, -1) + 1
        return self._parts[table]

    def _stored(self, path: Path, rows: int | None = None) -> Stored:
        return Stored(str(path.relative_to(self.folder)), path.stat().st_size, sha256(path), rows)

    def record(self, shard: Shard, record: Record) -> None:
        """Marks a shard as finished."""
        commit_json(self._records / f"{shard}.json", prove(record.as_json()))

    def complete(self, manifest: Manifest, run: dict[str, Any]) -> None:
        """Writes the manifest last and gives the folder its final name."""
        commit_json(self.folder / "run.json", run)
        commit_json(self.folder / "manifest.json", manifest.as_json())
        self.workspace.swap(self.name)
