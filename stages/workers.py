"""Work for processes beside this one, in order and without holding more than a few pieces of it."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from stages.errors import ResourceError

T = TypeVar("T")

CHUNK = 8  # arguments that go to a process at once
ALONE = 32  # with no more work than this no process is worth its start
_PASSED = 4_096  # items without work that are held behind one that has some
_PR_SET_PDEATHSIG = 1


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """Processes that are spawned when there is enough to do, and end with this one, or at `close`.

    `count` is their number; None is one a core, 0 does everything here. A process that is itself a worker may have no
    children, and does everything itself.
    """

    def __init__(self, count: int | None = None) -> None:
        inside = multiprocessing.current_process().daemon
        self._count = 0 if inside else cores() if count is None else count
        self._pool: ProcessPoolExecutor | None = None

    def close(self) -> None:
        """Ends the processes. They start again when there is work."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def beside(
        self, items: Iterable[T], argument: Callable[[T], Any], function: Callable[[Any], Any]
    ) -> Iterator[tuple[T, Any]]:
        """Each item in order, with `function(argument(item))`, or with None where the argument is None.

        The function is that of a module, or a partial of one. It raises nothing but for want of memory. Raises
        ResourceError when a process dies.
        """
        waiting: deque[tuple[list[tuple[T, Any]], Future[list[Any]] | None]] = deque()
        chunk: list[tuple[T, Any]] = []
        work = 0  # of the chunk
        most = ALONE  # the first chunk, which is done here when nothing follows
        for item in items:
            given = argument(item)
            if given is None and not chunk and not waiting:
                yield item, None
                continue
            chunk.append((item, given))
            work += given is not None
            if work >= most or len(chunk) >= _PASSED:
                waiting.append((chunk, self._submit(function, chunk)))
                chunk, work, most = [], 0, CHUNK if self._count else 1
            while len(waiting) > self._count + 2 or (waiting and waiting[0][1] is None):
                yield from _finished(function, *waiting.popleft())
        for done, future in waiting:
            yield from _finished(function, done, future)
        yield from _finished(function, chunk, None)

    def _submit(self, function: Callable[[Any], Any], chunk: list[tuple[T, Any]]) -> Future[list[Any]] | None:
        if not self._count:
            return None
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._count, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(os.getpid(),)
            )
        try:
            with _bare_main():
                return self._pool.submit(_each, function, [given for _, given in chunk if given is not None])
        except BrokenProcessPool as error:
            raise _died(error) from None


@contextmanager
def _bare_main() -> Iterator[None]:
    """A process that is spawned meanwhile does not run this one's main module again: nothing of it is needed there."""
    main: dict[str, Any] = vars(sys.modules["__main__"])
    kept: dict[str, Any] = {name: main.pop(name) for name in ("__spec__", "__file__") if name in main}
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update(kept)


def _finished(
    function: Callable[[Any], Any], chunk: list[tuple[T, Any]], future: Future[list[Any]] | None
) -> Iterator[tuple[T, Any]]:
    if future is None:
        for item, given in chunk:
            yield item, None if given is None else function(given)
        return
    try:
        results = iter(future.result())
    except BrokenProcessPool as error:
        raise _died(error) from None
    for item, given in chunk:
        yield item, None if given is None else next(results)


def _died(error: BaseException) -> ResourceError:
    return ResourceError(
        "a process that works for this one has died",
        got=error,
        try_="fewer workers, or more memory: it was mostly that",
    )


def _each(function: Callable[[Any], Any], given: list[Any]) -> list[Any]:
    return [function(one) for one in given]


def _begin(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the one that started this one decides
    die_with(parent)


def die_with(parent: int) -> None:
    """Asks the kernel to kill this process when the one that started it ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
