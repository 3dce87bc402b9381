"""One process at a time in a workspace."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from stages.errors import LockedError, StorageError


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Holds the lock of a workspace. Raises LockedError that names the holder.

    The kernel drops the lock with its process, so the lock of a killed process is free at once. The file stays; it says
    who holds or last held the lock.
    """
    path = root / "lock"
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise StorageError(
            f"cannot open {path}", got=error.strerror or error, try_="choose another WORKSPACE"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                "another process works in this workspace",
                where=str(root),
                got=_holder(path),
                try_="wait for it, or choose another WORKSPACE",
            ) from None
        file.truncate(0)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        json.dump(
            {"pid": os.getpid(), "host": socket.gethostname(), "started": started, "command": " ".join(sys.argv)}, file
        )
        file.flush()
        yield


def _holder(path: Path) -> str:
    try:
        held = json.loads(path.read_text())
        return f"process {held['pid']} on {held['host']} since {held['started']}: {held['command']}"
    except (OSError, ValueError, KeyError):
        return "a process that has not said its name yet"
