"""Loops that Numba compiles, where numpy would go over the same values in several passes.

What is compiled is kept beside the source, or in the user's cache folder, so that it takes seconds once. Sums of floats are
written out in the order in which they are added, and are the same to the bit on every processor, but where it says otherwise.
A module calls no compiled loop of another one: what is kept would not notice that the other one changed. Where one uses
another's instructions, it names their sha256 for that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])

TILES = frozenset({"+amx-bf16", "+amx-tile", "+avx512bf16", "+avx512bw", "+avx512dq"})
"""LLVM's names of what a processor needs for `stages.compiled.instructions`."""


def compiled(signature: Any, any_order: bool = False) -> Callable[[F], F]:
    """A function as machine code for arguments of one signature. It lets other threads run meanwhile.

    With `any_order`, floats are summed as is fastest on the processor, and the last bits are those of that order.
    """
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc"} if any_order else False}

    def decorate(function: F) -> F:
        try:
            machine: F = numba.njit(signature, cache=True, **options)(function)
        except Exception:  # no folder or no room to keep it in, or what is kept there is damaged
            machine = numba.njit(signature, **options)(function)
        return machine

    return decorate


def given(dtype: Any, dimensions: int = 1) -> Any:
    """The type of an array that is only read."""
    return numba.types.Array(dtype, dimensions, "C", readonly=True)


def emits(features: frozenset[str]) -> bool:
    """Whether Numba compiles for a processor with these features."""
    from numba.core.registry import cpu_target

    return features <= set(cpu_target.target_context.codegen().magic_tuple()[2].split(","))
