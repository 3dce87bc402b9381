"""From exceptions and signals to messages and exit codes."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import click

from pipeline import truncation
from stages.errors import HardrockError, ResourceError, StorageError

_PATH = 1000
"""Characters of a path that are told; of a longer one its two ends."""


class Terminated(BaseException):
    """SIGTERM has come."""


def guarded(command: Callable[[], Any]) -> int:
    """Runs a command and returns its exit code; a person sees a message, never a traceback for a fault of theirs.

    The first Ctrl-C or SIGTERM unwinds in order, whatever error a library makes of it on the way (DuckDB: "Query
    interrupted"). The second, whatever the first is busy with, ends the process at once: what a workspace shows is whole at
    any moment.
    """
    asked: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if asked:
            os.write(2, (_stopped(asked[0]) + "\n").encode())
            os._exit(128 + asked[0])
        asked.append(number)
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    truncation.install()
    try:
        answer = command()
    except BaseException as error:
        if not asked:
            return _told(error)
        click.echo(_stopped(asked[0]), err=True)
        return 128 + asked[0]
    return answer if isinstance(answer, int) else 0  # click returns the code of an Exit


def _told(error: BaseException) -> int:
    """Tells what ended a command, and returns the exit code. Raises what nobody has foreseen."""
    if isinstance(error, HardrockError):
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        click.echo(_stopped(signal.SIGINT), err=True)
        return 128 + signal.SIGINT
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if isinstance(error, (OSError, MemoryError)):
        refused = _refused(error)
        click.echo(f"error: {refused}", err=True)
        return refused.exit_code
    raise error


def _stopped(number: int) -> str:
    how = "terminated" if number == signal.SIGTERM else "interrupted"
    return f"{how}: what was finished is kept. Go on with: {shlex.join(['hardrock', *sys.argv[1:]])}"


def _refused(error: OSError | MemoryError) -> HardrockError:
    if isinstance(error, MemoryError):
        return ResourceError("there is not enough memory", try_="smaller shards or batches, or a larger machine")
    where = (
        None
        if error.filename is None
        else os.fsdecode(error.filename)
        if isinstance(error.filename, bytes)
        else str(error.filename)
    )
    if where and len(where) > _PATH:
        where = f"{where[: _PATH // 2]}…{where[-_PATH // 2 :]} ({len(where):,} characters)"
    mend = "a shorter path: a name has 255 bytes at most, a path 4,096" if error.errno == errno.ENAMETOOLONG else None
    return StorageError("the file system refuses", where=where, got=error.strerror or error, try_=mend)
