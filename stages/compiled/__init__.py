"""Loops that Numba compiles, where numpy would go over the same values in several passes.

What is compiled is kept beside the source, or in the user's cache folder, so that it takes seconds once, and is compiled
anew when any file of this folder has changed. Sums of floats are written out in the order in which they are added, and are
the same to the bit on every processor, but where it says otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache

F = TypeVar("F", bound=Callable[..., Any])


@cache
def _sources() -> str:
    """A hash of all that is compiled, as loops have parts in common."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


class _Cache(FunctionCache):  # type: ignore[misc]
    """Numba's own, which looks at the file of a function alone."""

    def _index_key(self, *given: Any) -> Any:
        return (*super()._index_key(*given), _sources())


def compiled(signature: Any, any_order: bool = False) -> Callable[[F], F]:
    """A function as machine code for arguments of one signature. It lets other threads run meanwhile.

    With `any_order`, floats are summed as is fastest on the processor, and the last bits are those of that order.
    """
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc"} if any_order else False}

    def decorate(function: F) -> F:
        try:
            machine: Any = numba.njit(**options)(function)
            machine._cache = _Cache(function)
            machine.compile(signature)
        except Exception:  # no folder or no room to keep it in, or what is kept there is damaged
            machine = numba.njit(signature, **options)(function)
        machine.disable_compile()
        return machine  # type: ignore[no-any-return]

    return decorate


def given(dtype: Any, dimensions: int = 1) -> Any:
    """The type of an array that is only read."""
    return numba.types.Array(dtype, dimensions, "C", readonly=True)
