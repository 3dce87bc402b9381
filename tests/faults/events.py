"""Counts what a run asks of the file system, and at event number N kills it, refuses, or stops and asks for order.

An event is an open for writing, a write of Python's own, an fsync, a rename, a removal, a new folder, and the end of
whatever a library wrote by itself (Parquet, FAISS, safetensors) before it is committed: there the file is cut in half first.
"""

from __future__ import annotations

import builtins
import io
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import store

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}


class Counter:
    """Calls `act` at event `at`; -1 is never."""

    def __init__(self, root: Path, at: int, act: Callable[[str, str], None]) -> None:
        self.root, self.at, self.act, self.count, self.names = str(root), at, act, 0, []

    def hit(self, name: str, path: object) -> None:
        text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else str(path)
        self.count += 1
        self.names.append(f"{name} {text}")
        if self.count == self.at:
            self.act(name, text)


class _File:
    """A file whose writes are events."""

    def __init__(self, file: Any, counter: Counter, path: str) -> None:
        self._file, self._counter, self._path = file, counter, path

    def write(self, data: Any) -> int:
        self._counter.hit("write", self._path)
        return self._file.write(data)

    def __enter__(self) -> _File:
        self._file.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self._file.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __iter__(self) -> Any:
        return iter(self._file)


def install(counter: Counter, synced: Callable[[int], None] | None = None) -> None:
    """Lets the counter see this process. `synced` is told of every fsync after it was done."""

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in CHANGES:
            counter.hit(event, arguments[0])
        elif event == "open" and isinstance(arguments[0], (str, bytes)):
            flags = arguments[2] or 0
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and os.fsdecode(arguments[0]).startswith(counter.root):
                counter.hit("open", arguments[0])

    real_open, real_fsync, real_commit = io.open, os.fsync, store.commit

    def opened(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
        found = real_open(file, mode, *rest, **named)
        inside = isinstance(file, (str, os.PathLike)) and os.fspath(file).startswith(counter.root)
        return _File(found, counter, os.fspath(file)) if inside and set(mode) & set("wax+") else found

    def fsync(handle: int) -> None:
        counter.hit("fsync", os.readlink(f"/proc/self/fd/{handle}"))
        real_fsync(handle)
        if synced:
            synced(handle)

    def commit(path: Path, write: Callable[[Path], None]) -> None:
        def torn(temporary: Path) -> None:
            write(temporary)
            counter.hit("torn", temporary)

        real_commit(path, torn)

    sys.addaudithook(audit)
    builtins.open = io.open = opened  # type: ignore[assignment]
    os.fsync = fsync
    store.commit = commit


def halve(place: Path) -> None:
    """Cuts what was written to half its size, as a kill or a full disk in the middle of it would have."""
    for path in [place, *place.rglob("*")] if place.is_dir() else [place]:
        if path.is_file():
            os.truncate(path, path.stat().st_size // 2)


def kill(name: str, path: str) -> None:
    if name == "torn":
        halve(Path(path))
    os.kill(os.getpid(), signal.SIGKILL)


def send(*numbers: int) -> Callable[[str, str], None]:
    """Sends signals to this process, one at once after the other."""

    def act(name: str, path: str) -> None:
        for number in numbers:
            os.kill(os.getpid(), number)

    return act


def refuse(code: int) -> Callable[[str, str], None]:
    """What the kernel says on a full or broken disk; as C++ libraries say it where they write."""

    def act(name: str, path: str) -> None:
        if name == "torn":
            halve(Path(path))
            raise RuntimeError(f"write error in {path}: 0 != 1 ({os.strerror(code)})")
        raise OSError(code, os.strerror(code), path)

    return act


class Disk:
    """Remembers what was synced: the content of each file and the names in each folder, by inode.

    Every inode is held (a link, or an open folder), so that no number is used twice.
    """

    def __init__(self, root: Path, shadow: Path) -> None:
        self.root, self.shadow = root, shadow
        self.names: dict[int, dict[str, tuple[int, bool]]] = {}
        self.files: dict[int, bytes] = {}
        self._held: list[int] = []
        shadow.mkdir(parents=True)

    def synced(self, handle: int) -> None:
        number = os.fstat(handle).st_ino
        place = os.readlink(f"/proc/self/fd/{handle}")
        if os.path.isdir(place):
            self._held.append(os.dup(handle))
            self.names[number] = _names(place)
        else:
            self.files[number] = Path(place).read_bytes()
            link = self.shadow / str(number)
            if not link.exists():
                os.link(place, link)

    def lose(self, image: Path, *, names_kept: bool) -> None:
        """Writes what a power loss now leaves: with all names as they are, or only with those that were synced."""
        self._restore(self.root.stat().st_ino, self.root, image, names_kept)

    def _restore(self, number: int, place: Path | None, image: Path, names_kept: bool) -> None:
        image.mkdir(parents=True)
        names = _names(str(place)) if names_kept and place else self.names.get(number, {})
        for name, (inner, is_folder) in names.items():
            if is_folder:
                self._restore(inner, place / name if names_kept and place else None, image / name, names_kept)
            else:
                (image / name).write_bytes(self.files.get(inner, b""))


def _names(place: str) -> dict[str, tuple[int, bool]]:
    with os.scandir(place) as entries:
        return {e.name: (e.inode(), e.is_dir(follow_symlinks=False)) for e in entries}


def lose_power(disk: Disk, image: Path, names_kept: bool) -> Callable[[str, str], None]:
    def act(name: str, path: str) -> None:
        disk.lose(image, names_kept=names_kept)
        os.kill(os.getpid(), signal.SIGKILL)

    return act


def clear(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
