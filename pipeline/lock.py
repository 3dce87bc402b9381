"""Who may work in a workspace, and on what.

    lock      one process that brings stages up to date, or many array jobs that each do shards of one stage
    workers   held by every process that works on shards for another; nobody cleans up or renames before all have let go
    a byte    of a stage's `.claims`: one shard, held by whoever works on it

All are locks of the kernel: they go with their process, also on the other machines of a shared file system, which must
support them (NFS does, Lustre with the mount option `flock`).
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from stages.errors import LockedError, StorageError

T = TypeVar("T")

PATIENCE = 50
"""How often the holder's name is looked for, 20 ms apart."""

WAIT = 60.0
"""Seconds that are waited for a lock that is soon let go: of a dying worker, of a job that just begins."""

WORKERS = "workers"


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Holds the lock of a workspace. Raises LockedError that names the holder.

    The kernel drops the lock with its process, so the lock of a killed process is free at once. The file stays; it says
    who holds the lock, or held it when it was killed.
    """
    with _open(root / "lock") as file:
        _take(file, root, fcntl.LOCK_EX)
        try:
            yield
        finally:
            with suppress(OSError):
                os.ftruncate(file, 0)


@contextmanager
def shared(root: Path, prepare: Callable[[Callable[[], None]], T]) -> Iterator[T]:
    """Holds the lock of a workspace together with other jobs that hold it so, and gives what `prepare` gives.

    One job at a time prepares. What it calls with is for what must not happen under the hands of others: it returns when
    this is the only job, and raises LockedError when it is not. The jobs that wait to prepare hold nothing yet.
    """
    with _open(root / "lock") as file:
        with _open(root / "lock.begin") as turn:
            _wait(turn, fcntl.LOCK_EX, root / "lock.begin")
            _take(file, root, fcntl.LOCK_SH)
            made = prepare(lambda: _take(file, root, fcntl.LOCK_EX))
            fcntl.flock(file, fcntl.LOCK_SH)
        yield made


@contextmanager
def working(root: Path) -> Iterator[None]:
    """Held by a process that works on shards for another. Waits for a moment in which the other one cleans up."""
    with _open(root / WORKERS) as file:
        _wait(file, fcntl.LOCK_SH, root / WORKERS)
        yield


@contextmanager
def without_workers(root: Path) -> Iterator[None]:
    """Waits until no process works on shards for another any more, and keeps new ones from beginning."""
    if not (root / WORKERS).exists():
        yield
        return
    with _open(root / WORKERS) as file:
        _wait(file, fcntl.LOCK_EX, root / WORKERS)
        yield


@contextmanager
def claimed(path: Path, place: int) -> Iterator[None]:
    """Holds one byte of a file, which need not be there. Waits for whoever holds it; that may take as long as its work."""
    with _open(path, make=False) as file:
        _wait(file, fcntl.LOCK_EX, path, place)
        yield


@contextmanager
def reading(path: Path) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Held by a process that reads what `path` stands for, with others that do. `with` what it gives, it may be changed.

    That raises LockedError while another process reads.
    """
    with _open(path) as file:
        _wait(file, fcntl.LOCK_SH, path, what="another process is about to replace it")

        @contextmanager
        def alone() -> Iterator[None]:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LockedError(
                    "another process reads what has to be replaced", where=str(path), try_="wait for it"
                ) from None
            yield
            fcntl.flock(file, fcntl.LOCK_SH)

        yield alone


@contextmanager
def _open(path: Path, make: bool = True) -> Iterator[int]:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        if make:
            path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, flags, 0o644)
    except OSError as error:
        raise _refused(path, error) from error
    try:
        yield file
    finally:
        os.close(file)


def _take(file: int, root: Path, kind: int) -> None:
    """Takes the lock of a workspace at once, and says in the file who has it. Raises LockedError."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
        _sign(file, kind)
    except BlockingIOError:
        raise LockedError(
            "another process works in this workspace",
            where=str(root),
            got=_holder(root / "lock"),
            try_="wait for it, or choose another WORKSPACE",
        ) from None
    except OSError as error:
        raise _refused(root / "lock", error) from error


def _wait(
    file: int,
    kind: int,
    path: Path,
    place: int | None = None,
    what: str = "workers of another run are still at work in this workspace",
) -> None:
    """Takes a whole file, or one byte of it, as soon as it is free. Raises LockedError after `WAIT` for a whole file."""
    until = time.monotonic() + WAIT
    while True:
        try:
            if place is None:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
            else:
                fcntl.lockf(file, kind | fcntl.LOCK_NB, 1, place)
            return
        except BlockingIOError:
            if place is None and time.monotonic() > until:
                raise LockedError(
                    what, where=str(path), try_="wait, or end what holds it: what was finished is kept"
                ) from None
            time.sleep(0.02)
        except OSError as error:
            raise _refused(path, error) from error


def _refused(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot lock {path}", got=error.strerror or error, try_="free space, or choose another WORKSPACE"
    )


def _sign(file: int, kind: int) -> None:
    """Says in the file who holds the lock, or which of several jobs came last."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    says = {"pid": os.getpid(), "host": socket.gethostname(), "started": started, "command": " ".join(sys.argv)}
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(says | ({"shared": True} if kind == fcntl.LOCK_SH else {})).encode(), 0)


def _holder(path: Path) -> str:
    """Who holds the lock. It may have been taken a moment ago, and the file still be empty or name a process that is gone."""
    for _ in range(PATIENCE):
        try:
            held = json.loads(path.read_bytes())
            here = held["host"] == socket.gethostname()
            says = f"process {held['pid']} on {held['host']} since {held['started']}: {held['command']}"
            if held.get("shared"):
                return f"array jobs, of which the last to begin is {says}"
            if not here or _lives(held["pid"]):
                return says
        except (OSError, ValueError, KeyError, TypeError):
            pass
        time.sleep(0.02)
    return "a process that does not say its name"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
