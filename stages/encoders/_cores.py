"""How a processor's cores share the frames of a shard, and what its arithmetic is worth: both are measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import torch

from stages.threads import one_thread_each, spread


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
