"""Threads that share work whose operators let go of Python's lock, each operator on one core."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 4  # pieces of work a thread that may wait, so that memory does not grow with their number


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Operators use one thread, so that pieces of work can share the cores. How many threads there are then changes no bit."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def spread(work: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """What `work` gives for each item, in order. Call it within `one_thread_each`."""
    if threads == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads, "spread") as pool:
        waiting = []
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= threads * _AHEAD:
                    yield waiting.pop(0).result()
            for each in waiting:
                yield each.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
