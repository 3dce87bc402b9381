"""What a person sees while a stage works: a bar on a terminal, plain lines otherwise; everything goes to the log as well."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TextIO

from stages.errors import StorageError
from stages.spec import Bar

LOG = logging.getLogger("hardrock")

EVERY = 10.0
"""Seconds between two plain lines of progress."""


class Screen:
    """Bars and lines for the person who started the run."""

    def progress(self, says: str, total: int) -> AbstractContextManager[Bar]:
        return bar(says, total)

    def log(self, message: str) -> None:
        LOG.info("  %s", message)


class Gathered:
    """Says a line of many workers once. Those that differ from it in nothing but numbers are counted and said in the end."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._first: dict[str, str] = {}
        self._more: Counter[str] = Counter()

    def log(self, line: str) -> None:
        shape = re.sub(r"[0-9][0-9,.]*", "#", line)
        if shape not in self._first:
            self._first[shape] = line
            self._log(line)
        elif line != self._first[shape]:
            self._more[shape] += 1

    def close(self) -> None:
        for shape, count in self._more.items():
            self._log(f"{count} more workers or shards say so with other numbers: {self._first[shape]}")


class PlainBar:
    """Progress as a line every ten seconds."""

    def __init__(self, says: str, total: int) -> None:
        self._says, self._total, self._done = says, total, 0
        self._next = time.monotonic() + EVERY

    def advance(self, amount: int = 1) -> None:
        self._done += amount
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY
            of = f" of {self._total} ({100 * self._done // self._total}%)" if self._total else ""
            LOG.info("%s: %d%s", self._says, self._done, of)


@contextmanager
def bar(says: str, total: int) -> Iterator[Bar]:
    """A bar of `total` steps on standard error; 0 where nobody knows how many there will be."""
    if not sys.stderr.isatty():
        yield PlainBar(says, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(says, total=total or None)

        class _Bar:
            def advance(self, amount: int = 1) -> None:
                progress.advance(task, amount)

        yield _Bar()


AT_ONCE = 4
"""Pieces of work that wait for others, of a network, which are under way together."""


def at_once(says: str, work: Sequence[Callable[[], None]]) -> None:
    """Does it all, some at the same time. The first error ends it, as soon as what is under way has ended."""
    with ThreadPoolExecutor(AT_ONCE) as pool, bar(says, len(work)) as shown:
        try:
            for done in as_completed([pool.submit(one) for one in work]):
                done.result()
                shown.advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _LogFile(logging.StreamHandler[TextIO]):
    """The lines of `logs/hardrock.log`."""


def _append(path: Path) -> TextIO:
    """The log, open at its end. A link is refused, and so is a folder that is a link: the log of a workspace lies in it."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return os.fdopen(os.open(path.name, flags, 0o644, dir_fd=folder), "a", encoding="utf-8")
    finally:
        os.close(folder)


def start_logging(root: Path) -> None:
    """Lines for the person on standard error, the same with times in `logs/hardrock.log` of the workspace."""
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
    for handler in list(LOG.handlers):
        LOG.removeHandler(handler)
        if isinstance(handler, _LogFile):
            handler.stream.close()
        handler.close()
    logging.raiseExceptions = False  # a log on a full disk loses its line; what refuses to be stored says so itself
    screen = logging.StreamHandler(sys.stderr)
    screen.setFormatter(logging.Formatter("%(message)s"))
    LOG.addHandler(screen)
    path = root / "logs" / "hardrock.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _LogFile(_append(path))
    except OSError as error:
        raise StorageError(
            f"cannot write {path}", got=error.strerror or error, try_="choose another WORKSPACE"
        ) from error
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOG.addHandler(file)
