"""Instructions of processors with AMX and AVX-512, for compiled loops. Others do not know them: ask `available` first.

AMX multiplies tiles of 16 rows of 64 bytes: registers that are named by numbers from 0 to 7. A loop that uses them begins with
`configure` and ends with `release`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, models, register_model

from stages.compiled import given

I8, I16, I32, I64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
VECTOR = ir.VectorType(ir.FloatType(), 16)
ARRAY, TILE = object(), object()  # arguments of an instruction: an array, of which it gets the address; a tile's number
TILES = given(types.uint8)
"""The type of `whole_tiles()`."""

_NEEDED = {"+amx-bf16", "+amx-tile", "+avx512bf16", "+avx512bw", "+avx512dq"}


@cache
def available() -> bool:
    """Whether processor, system and Numba have what it takes. Asks the system for the tiles, which it gives to all threads."""
    import torch

    try:
        if not torch.cpu._init_amx():  # type: ignore[no-untyped-call]
            return False
    except AttributeError:
        return False
    from numba.core.registry import cpu_target

    features = cpu_target.target_context.codegen().magic_tuple()[2]
    return set(features.split(",")) >= _NEEDED


def whole_tiles() -> np.ndarray:
    """What `configure` reads, uint8 (64,): the first palette; bytes a row from 16 on, in uint16, and rows from 48 on."""
    tiles = np.zeros(64, dtype=np.uint8)
    tiles[0], tiles[16:32:2], tiles[48:56] = 1, 64, 16
    return tiles


class _Lanes(types.Type):  # type: ignore[misc]
    """A register of 16 float32 values."""


LANES = _Lanes(name="Lanes")


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, VECTOR)


def instruction(result: Any, *arguments: Any) -> Callable[[Callable[..., Any]], Any]:
    """A function that compiled code can call, from one that emits LLVM's instructions for it."""

    def decorate(emit: Callable[..., Any]) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            operands = []
            for wanted, kind, value in zip(arguments, signature.args, values, strict=True):
                if wanted is ARRAY:
                    operands.append(context.make_array(kind)(context, builder, value).data)
                else:
                    operands.append(I8(kind.literal_value) if wanted is TILE else value)
            found = emit(builder, *operands)
            return context.get_dummy_value() if result == types.void else found

        def typed(_: Any, *kinds: Any) -> Any:
            exact = (k if want in {ARRAY, TILE} else want for k, want in zip(kinds, arguments, strict=True))
            return result(*exact), generate

        names = ["_", *(f"of_{place}" for place in range(len(arguments)))]
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        typed.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
        typed.__name__ = emit.__name__
        return intrinsic(prefer_literal=True)(typed)

    return decorate


def call(b: Any, name: str, result: Any, *values: Any) -> Any:
    """A call of one of LLVM's own functions."""
    known = b.module.globals.get(name)
    return b.call(known or ir.Function(b.module, ir.FunctionType(result, [v.type for v in values]), name), values)


def at(b: Any, data: Any, place: Any, kind: Any) -> Any:
    """The address of a place in an array, as that of a value of another kind."""
    return b.bitcast(b.gep(data, [place]), kind.as_pointer())


def load(b: Any, data: Any, place: Any, kind: Any) -> Any:
    """A value of a kind that begins at a place in an array."""
    found = b.load(at(b, data, place, kind))
    found.align = 2  # whatever the array's own is
    return found


@instruction(LANES, ARRAY, types.int64)
def read(b: Any, data: Any, place: Any) -> Any:
    """16 values of a float32 array."""
    return load(b, data, place, VECTOR)


@instruction(types.void, ARRAY)
def configure(b: Any, data: Any) -> None:
    """Says what tiles there are."""
    call(b, "llvm.x86.ldtilecfg", ir.VoidType(), at(b, data, I64(0), I8))


@instruction(types.void)
def release(b: Any) -> None:
    """Ends the use of tiles."""
    call(b, "llvm.x86.tilerelease", ir.VoidType())


@instruction(types.void, TILE)
def clear(b: Any, tile: Any) -> None:
    """Fills a tile with zeros."""
    call(b, "llvm.x86.tilezero", ir.VoidType(), tile)


@instruction(types.void, TILE, ARRAY, types.int64, types.int64)
def take(b: Any, tile: Any, data: Any, place: Any, stride: Any) -> None:
    """Fills a tile; the stride between its rows is in bytes."""
    call(b, "llvm.x86.tileloadd64", ir.VoidType(), tile, at(b, data, place, I8), stride)


@instruction(types.void, TILE, ARRAY, types.int64, types.int64)
def put(b: Any, tile: Any, data: Any, place: Any, stride: Any) -> None:
    """Writes a tile; the stride between its rows is in bytes."""
    call(b, "llvm.x86.tilestored64", ir.VoidType(), tile, at(b, data, place, I8), stride)


@instruction(types.void, TILE, TILE, TILE)
def multiply(b: Any, total: Any, left: Any, right: Any) -> None:
    """Adds to float32 (16, 16) the product of bf16 (16, 32) and (32, 16), the latter with two rows in turns."""
    call(b, "llvm.x86.tdpbf16ps", ir.VoidType(), total, left, right)


@njit(inline="always")  # type: ignore[untyped-decorator]
def aligned(count: Any) -> Any:
    """float32 (count,) that begins with a line of the cache."""
    whole = np.zeros(count + 16, np.float32)
    skipped = (64 - whole.ctypes.data % 64) // 4 % 16
    return whole[skipped : skipped + count]
