import ctypes
import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.freed import give_back


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not glibc")
def test_what_was_freed_goes_back_though_something_behind_it_is_still_used() -> None:
    parts = [np.ones(10_000) for _ in range(2_000)]  # 160 MB, each below what the allocator maps by itself
    last = parts.pop()
    del parts
    before = resident()
    give_back()
    assert before - resident() > 100 << 20
    assert last.sum() == 10_000
