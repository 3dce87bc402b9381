"""How a processor's cores share the frames of a shard, and what its arithmetic is worth: both are measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 4  # frames a thread that may wait, so that memory does not grow with the texts


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Operators use one thread, so that frames can share the cores. How many threads there are then changes no bit."""
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
    with ThreadPoolExecutor(threads, "frames") as pool:
        waiting = []
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= threads * _AHEAD:
                yield waiting.pop(0).result()
        for each in waiting:
            yield each.result()


def threads_for(work: Callable[[], object], most: int) -> int:
    """The number of threads, `most` or half of it and so on, that does `work` most often a second. Wall time is what counts."""
    if most == 1:
        return 1
    rates = {}
    count = most
    with one_thread_each():
        work()
        while count >= max(1, most // 4):
            start = time.perf_counter()
            for _ in spread(lambda _: work(), range(2 * most), count):
                pass
            rates[count] = 1 / (time.perf_counter() - start)
            count //= 2
    return max(rates, key=lambda n: (rates[n], -n))


@cache
def bf16_gain() -> float:
    """How many times faster this processor multiplies matrices in bf16 than in fp32, on one thread; measured once a process."""
    with one_thread_each(), torch.inference_mode():
        seconds = {}
        for kind in (torch.float32, torch.bfloat16):
            one = torch.ones((768, 768), dtype=kind)
            torch.nn.functional.linear(one, one)
            start = time.thread_time()
            for _ in range(3):
                torch.nn.functional.linear(one, one)
            seconds[kind] = time.thread_time() - start
    return seconds[torch.float32] / seconds[torch.bfloat16]
