"""Kernels by name, among them what other processors than this one would use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from stages.indexes import _choose
from stages.indexes._tiles import Tiles

WITHOUT_TILES = "bf16 without tiles"


def sound(dimensions: int) -> list[str]:
    """The names of kernels that pass their test here, and with AMX what bf16 is without it."""
    found = {
        name: [each for each in _choose._kernels(name, "cpu") if _choose.passes(each, dimensions)]
        for name in ("int8", "bf16", "fp32")
    }
    several = any(isinstance(each, Tiles) for each in found["bf16"]) and len(found["bf16"]) > 1
    return [*(name for name, kernels in found.items() if kernels), *([WITHOUT_TILES] if several else [])]


@contextmanager
def named(kernel: str) -> Iterator[str]:
    """The name for the configuration. Without tiles, there are none for as long."""
    all_ = _choose._kernels

    def fewer(name: str, device: str) -> list[_choose.Kernel]:
        return [each for each in all_(name, device) if not isinstance(each, Tiles)]

    if kernel != WITHOUT_TILES:
        yield kernel
        return
    _choose._measured.cache_clear()
    try:
        with patch.object(_choose, "_kernels", fewer):
            yield "bf16"
    finally:
        _choose._measured.cache_clear()
