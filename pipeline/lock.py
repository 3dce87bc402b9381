"""One process at a time in a workspace."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from stages.errors import LockedError, StorageError

PATIENCE = 50
"""How often the holder's name is looked for, 20 ms apart."""


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Holds the lock of a workspace. Raises LockedError that names the holder.

    The kernel drops the lock with its process, so the lock of a killed process is free at once. The file stays; it says
    who holds the lock, or held it when it was killed.
    """
    path = root / "lock"
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _sign(file)
        except BaseException:
            os.close(file)
            raise
    except BlockingIOError:
        raise LockedError(
            "another process works in this workspace",
            where=str(root),
            got=_holder(path),
            try_="wait for it, or choose another WORKSPACE",
        ) from None
    except OSError as error:
        raise StorageError(
            f"cannot lock {path}", got=error.strerror or error, try_="free space, or choose another WORKSPACE"
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):
            os.ftruncate(file, 0)
        os.close(file)


def _sign(file: int) -> None:
    """Says in the file who holds the lock."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    says = {"pid": os.getpid(), "host": socket.gethostname(), "started": started, "command": " ".join(sys.argv)}
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(says).encode(), 0)


def _holder(path: Path) -> str:
    """Who holds the lock. It may have been taken a moment ago, and the file still be empty or name a process that is gone."""
    for _ in range(PATIENCE):
        try:
            held = json.loads(path.read_bytes())
            here = held["host"] == socket.gethostname()
            if not here or _lives(held["pid"]):
                return f"process {held['pid']} on {held['host']} since {held['started']}: {held['command']}"
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
