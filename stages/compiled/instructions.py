"""Instructions of AVX-512 and AMX as functions for loops that Numba compiles: registers of 16 float32 values, and tiles.

A register is a value with `+`, `-` and `*`. Tiles are eight, told by their number, of 16 rows of 64 bytes: bf16 (16, 32) or
float32 (16, 16). bf16 is given as uint16. Places in an array are counted in its elements and not checked. Compiling any of
this for a processor that has none of it ends the process: ask `available` first.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, overload, register_model

from stages.compiled import given

_I8, _I16, _I32, _I64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_VECTOR, _WORDS, _HALVES = ir.VectorType(ir.FloatType(), 16), ir.VectorType(_I32, 16), ir.VectorType(_I16, 16)
# Arguments of an instruction: an array, of which it gets the address; a tile's number.
_ARRAY, _TILE = object(), object()
_NEEDED = {"+amx-bf16", "+amx-tile", "+avx512bf16", "+avx512bw", "+avx512dq"}

TILES = given(types.uint8)
"""The type of `whole_tiles()`."""


def available() -> bool:
    """Whether processor, system and Numba have what it takes. Asks the system for the tiles, which all threads have then."""
    import torch

    try:
        if not torch.cpu._init_amx():  # type: ignore[no-untyped-call]
            return False
    except (AttributeError, RuntimeError):
        return False
    features = cpu_target.target_context.codegen().magic_tuple()[2]
    return set(features.split(",")) >= _NEEDED


def require() -> None:
    """Raises ImportError where loops with these instructions cannot be compiled: to try would end the process."""
    if not available():
        raise ImportError("the processor has no AMX, or system, torch or Numba do not know of it")


def whole_tiles() -> np.ndarray:
    """What `configure` reads, uint8 (64,): the palette; bytes a row from 16 on, in uint16; rows from 48 on."""
    tiles = np.zeros(64, dtype=np.uint8)
    tiles[0], tiles[16:32:2], tiles[48:56] = 1, 64, 16
    return tiles


class _BFloat(ir.Type):  # type: ignore[misc]
    """LLVM's bf16, which llvmlite has no name for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


class _Lanes(types.Type):  # type: ignore[misc]
    """A register of 16 float32 values."""


_LANES = _Lanes(name="Lanes")


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


def _instruction(result: Any, *arguments: Any) -> Callable[[Callable[..., Any]], Any]:
    """A function that compiled code can call, from one that emits LLVM's instructions for it."""

    def decorate(emit: Callable[..., Any]) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            operands = []
            for wanted, kind, value in zip(arguments, signature.args, values, strict=True):
                if wanted is _ARRAY:
                    operands.append(context.make_array(kind)(context, builder, value).data)
                else:
                    operands.append(_I8(kind.literal_value) if wanted is _TILE else value)
            found = emit(builder, *operands)
            return context.get_dummy_value() if result == types.void else found

        def typed(_: Any, *kinds: Any) -> Any:
            exact = (k if want in {_ARRAY, _TILE} else want for k, want in zip(kinds, arguments, strict=True))
            return result(*exact), generate

        names = ["_", *(f"of_{place}" for place in range(len(arguments)))]
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        typed.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
        typed.__name__ = emit.__name__
        return intrinsic(prefer_literal=True)(typed)

    return decorate


def _call(b: Any, name: str, result: Any, *values: Any) -> Any:
    """A call of one of LLVM's own functions."""
    known = b.module.globals.get(name)
    return b.call(known or ir.Function(b.module, ir.FunctionType(result, [v.type for v in values]), name), values)


def _at(b: Any, data: Any, place: Any, kind: Any) -> Any:
    return b.bitcast(b.gep(data, [place]), kind.as_pointer())


def _load(b: Any, data: Any, place: Any, kind: Any) -> Any:
    found = b.load(_at(b, data, place, kind))
    found.align = 2  # whatever the array's own is
    return found


def _store(b: Any, value: Any, data: Any, place: Any) -> None:
    b.store(value, _at(b, data, place, value.type)).align = 2


def _shuffled(b: Any, one: Any, two: Any, order: list[int]) -> Any:
    return b.shuffle_vector(one, two, ir.Constant(ir.VectorType(_I32, len(order)), order))


def _same(b: Any, value: Any) -> Any:
    """A vector of one value."""
    kind = ir.VectorType(value.type, 16)
    first = b.insert_element(ir.Constant(kind, ir.Undefined), value, _I32(0))
    return _shuffled(b, first, first, [0] * 16)


def _larger_of(b: Any, one: Any, two: Any) -> Any:
    return b.select(b.fcmp_ordered(">", one, two), one, two)


def _folded(b: Any, value: Any, join: Callable[[Any, Any], Any]) -> Any:
    """One value from 16, by halves."""
    for half in (8, 4, 2, 1):
        value = join(value, _shuffled(b, value, value, [(i + half) % 16 for i in range(16)]))
    return b.extract_element(value, _I32(0))


@_instruction(_LANES, types.float32)
def every(b: Any, value: Any) -> Any:
    return _same(b, value)


@_instruction(_LANES, _ARRAY, types.int64)
def read(b: Any, data: Any, place: Any) -> Any:
    return _load(b, data, place, _VECTOR)


@_instruction(types.void, _ARRAY, types.int64, _LANES)
def write(b: Any, data: Any, place: Any, value: Any) -> None:
    _store(b, value, data, place)


@_instruction(_LANES, _ARRAY, types.int64)
def read_bf16(b: Any, data: Any, place: Any) -> Any:
    wide = b.zext(_load(b, data, place, _HALVES), _WORDS)
    return b.bitcast(b.shl(wide, ir.Constant(_WORDS, [16] * 16)), _VECTOR)


@_instruction(types.void, _ARRAY, types.int64, _LANES, _LANES)
def write_bf16(b: Any, data: Any, place: Any, one: Any, two: Any) -> None:
    """32 values, rounded to nearest, ties to even."""
    kind = ir.VectorType(_BFloat(), 32)
    _store(b, _call(b, "llvm.x86.avx512bf16.cvtne2ps2bf16.512", kind, two, one), data, place)


@_instruction(_LANES, _LANES, _LANES, _LANES)
def fused(b: Any, by: Any, times: Any, plus: Any) -> Any:
    """The product of by and times, and plus, rounded once."""
    return _call(b, "llvm.fma.v16f32", _VECTOR, by, times, plus)


@_instruction(_LANES, _LANES, _LANES)
def larger(b: Any, one: Any, two: Any) -> Any:
    return _larger_of(b, one, two)


@_instruction(_LANES, _LANES, _LANES)
def smaller(b: Any, one: Any, two: Any) -> Any:
    return b.select(b.fcmp_ordered("<", one, two), one, two)


@_instruction(types.float32, _LANES)
def largest(b: Any, value: Any) -> Any:
    return _folded(b, value, lambda one, two: _larger_of(b, one, two))


@_instruction(types.float32, _LANES)
def summed(b: Any, value: Any) -> Any:
    return _folded(b, value, b.fadd)


@_instruction(_LANES, _LANES, types.int64, _LANES)
def first_of(b: Any, value: Any, count: Any, other: Any) -> Any:
    """The first `count` lanes of value, and those of other behind them."""
    wanted = b.icmp_signed("<", ir.Constant(_WORDS, list(range(16))), _same(b, b.trunc(count, _I32)))
    return b.select(wanted, value, other)


@_instruction(types.int64, _ARRAY, types.int64, _LANES, _LANES)
def above(b: Any, data: Any, place: Any, one: Any, two: Any) -> Any:
    """Which of 32 float32 values are above those of two registers, as the bits of a number."""
    found = []
    for half, limit in enumerate((one, two)):
        values = _load(b, data, b.add(place, _I64(16 * half)), _VECTOR)
        found.append(b.zext(b.bitcast(b.fcmp_ordered(">", values, limit), _I16), _I64))
    return b.or_(found[0], b.shl(found[1], _I64(16)))


@_instruction(types.int64, types.int64)
def lowest(b: Any, bits: Any) -> Any:
    """The place of the lowest bit of a number that is not 0."""
    return b.cttz(bits, ir.Constant(ir.IntType(1), 1))


@_instruction(_LANES, _LANES)
def rounded(b: Any, value: Any) -> Any:
    return _call(b, "llvm.rint.v16f32", _VECTOR, value)


@_instruction(_LANES, _LANES, _LANES)
def scaled(b: Any, value: Any, exponent: Any) -> Any:
    """The value times 2^exponent, for whole exponents of any size."""
    name, whole = "llvm.x86.avx512.mask.scalef.ps.512", (_I16(-1), _I32(4))  # all lanes, rounded as usual
    return _call(b, name, _VECTOR, value, exponent, value, *whole)


def _operator(python: Any, method: str) -> None:
    @_instruction(_LANES, _LANES, _LANES)
    def emitted(b: Any, one: Any, two: Any) -> Any:
        return getattr(b, method)(one, two)

    @overload(python, inline="always")  # type: ignore[untyped-decorator]
    def applied(one: Any, two: Any) -> Any:
        def both(one: Any, two: Any) -> Any:
            return emitted(one, two)

        return both if one == _LANES and two == _LANES else None


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")


def _row(b: Any, data: Any, place: Any, stride: Any, row: int, last: Any, kind: Any) -> Any:
    """A vector of a row that begins at place + row · stride; behind the last row that one again."""
    at = b.select(b.icmp_signed("<", _I64(row), last), _I64(row), last)
    return _load(b, data, b.add(place, b.mul(stride, at)), kind)


_ROWS = (
    _ARRAY,
    types.int64,
    types.int64,
    types.int64,
    _ARRAY,
    types.int64,
)  # from, its place, stride, last row; to, place


@_instruction(types.void, *_ROWS)
def transpose(b: Any, source: Any, place: Any, stride: Any, last: Any, to: Any, at: Any) -> None:
    """16 rows of 16 words, the columns one after the other."""
    rows = [_row(b, source, place, stride, r, last, _WORDS) for r in range(16)]
    for half in (8, 4, 2, 1):
        low = [i if not i & half else 16 + i - half for i in range(16)]
        high = [i + half if not i & half else 16 + i for i in range(16)]
        for r in (r for r in range(16) if not r & half):
            pair = rows[r], rows[r + half]
            rows[r], rows[r + half] = _shuffled(b, *pair, low), _shuffled(b, *pair, high)
    for r in range(16):
        _store(b, rows[r], to, b.add(at, _I64(16 * r)))


@_instruction(types.void, *_ROWS)
def interleave(b: Any, source: Any, place: Any, stride: Any, last: Any, to: Any, at: Any) -> None:
    """32 rows of 16 bf16 values, the values of two rows in turns; 0 behind the last row."""
    zero, order = ir.Constant(_HALVES, [0] * 16), [i // 2 + i % 2 * 16 for i in range(32)]

    def real(row: int) -> Any:
        found = _row(b, source, place, stride, row, last, _HALVES)
        return b.select(b.icmp_signed("<=", _I64(row), last), found, zero)

    for r in range(0, 32, 2):
        _store(b, _shuffled(b, real(r), real(r + 1), order), to, b.add(at, _I64(16 * r)))


@_instruction(types.void, _ARRAY)
def configure(b: Any, data: Any) -> None:
    _call(b, "llvm.x86.ldtilecfg", ir.VoidType(), _at(b, data, _I64(0), _I8))


@_instruction(types.void, _ARRAY, types.int64)
def fetch(b: Any, data: Any, place: Any) -> None:
    """Asks for a line of the cache that is about to be written, and does not wait for it."""
    kind = ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32])
    function = b.module.declare_intrinsic("llvm.prefetch", [_I8.as_pointer()], kind)
    b.call(function, [_at(b, data, place, _I8), _I32(1), _I32(3), _I32(1)])  # to write, into the nearest cache, data


@_instruction(types.void)
def release(b: Any) -> None:
    _call(b, "llvm.x86.tilerelease", ir.VoidType())


@_instruction(types.void, _TILE)
def clear(b: Any, tile: Any) -> None:
    _call(b, "llvm.x86.tilezero", ir.VoidType(), tile)


@_instruction(types.void, _TILE, _ARRAY, types.int64, types.int64)
def take(b: Any, tile: Any, data: Any, place: Any, stride: Any) -> None:
    """Fills a tile; the stride between its rows is in bytes."""
    _call(b, "llvm.x86.tileloadd64", ir.VoidType(), tile, _at(b, data, place, _I8), stride)


@_instruction(types.void, _TILE, _ARRAY, types.int64, types.int64)
def put(b: Any, tile: Any, data: Any, place: Any, stride: Any) -> None:
    _call(b, "llvm.x86.tilestored64", ir.VoidType(), tile, _at(b, data, place, _I8), stride)


@_instruction(types.void, _TILE, _TILE, _TILE)
def multiply(b: Any, total: Any, left: Any, right: Any) -> None:
    """Adds to float32 (16, 16) the product of bf16 (16, 32) and (32, 16), the latter with two rows in turns."""
    _call(b, "llvm.x86.tdpbf16ps", ir.VoidType(), total, left, right)


@njit(inline="always")  # type: ignore[untyped-decorator]
def clear_block() -> None:
    """Fills the tiles 0 to 3, which are float32 (32, 32) together, with zeros."""
    clear(0)
    clear(1)
    clear(2)
    clear(3)


@njit(inline="always")  # type: ignore[untyped-decorator]
def multiply_block(left: Any, i: Any, right: Any, j: Any) -> None:
    """Adds to the tiles 0 to 3 the product of bf16 (32, 32), two tiles from `i` on, and (32, 32), as `in_turns` has them, from `j` on."""
    take(4, left, i, 64)
    take(6, right, j, 64)
    multiply(0, 4, 6)
    take(7, right, j + 512, 64)
    multiply(1, 4, 7)
    take(5, left, i + 512, 64)
    multiply(2, 5, 6)
    multiply(3, 5, 7)


@njit(inline="always")  # type: ignore[untyped-decorator]
def put_block(out: Any, begin: Any, across: Any) -> None:
    """Writes the tiles 0 to 3 to out, float32 with `across` values a row, from `begin` on."""
    put(0, out, begin, 4 * across)
    put(1, out, begin + 16, 4 * across)
    put(2, out, begin + 16 * across, 4 * across)
    put(3, out, begin + 16 * across + 16, 4 * across)


def in_turns(values: Any) -> Any:
    """A bf16 tensor (n, k), multiples of 32, as what is multiplied by: for each 32 rows and values two tiles (n/32, k/32, 2, 16, 16, 2).

    In each lie pairs of values of 16 rows in turns.
    """
    n, k = values.shape
    return values.view(n // 32, 2, 16, k // 32, 16, 2).permute(0, 3, 1, 4, 2, 5).contiguous()


@njit(inline="always")  # type: ignore[untyped-decorator]
def aligned(count: Any) -> Any:
    """float32 (count,) that begins with a line of the cache."""
    whole = np.zeros(count + 16, np.float32)
    skipped = (64 - whole.ctypes.data % 64) // 4 % 16
    return whole[skipped : skipped + count]
