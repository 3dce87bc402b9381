"""Gives memory that a stage has freed back to the system.

C's allocator keeps what was freed for whoever asks next, and so does Arrow's. A stage that needed much would weigh on all
that follow it in the same process.
"""

from __future__ import annotations

import ctypes

import pyarrow as pa


def give_back() -> None:
    """Has the allocators return what nobody uses. Does nothing for C's where it cannot, as outside of glibc."""
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
