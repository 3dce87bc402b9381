"""The layers of an encoder in bf16: products, attention, GELU, normalisation, means.

For processors with AMX, which multiply tiles of 16 rows of 64 bytes, and AVX-512: others do not know what is emitted here, so
ask `stages.encoders._tiled.possible` before importing this file. bf16 is given as uint16; sums are float32, 16 at a time.

An array (rows, d) lies in memory as (d/32, rows, 32), so that 16 rows of 32 values are a tile, and 32 values a line of the
cache. `tiles` says that all tiles are whole. A row's or a text's result hangs on nothing else.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, models, overload, register_model

from stages.compiled import compiled, given

_I8, _I16, _I32, _I64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_VECTOR, _WORDS, _HALVES = ir.VectorType(ir.FloatType(), 16), ir.VectorType(_I32, 16), ir.VectorType(_I16, 16)
_ARRAY, _TILE = object(), object()  # arguments of an instruction: an array, of which it gets the address; a tile's number
_F = np.float32
_BITS, _GIVEN, _TILES = types.uint16[::1], given(types.uint16), given(types.uint8)
_PLACES, _WEIGHTS = given(types.int64), given(types.float32)


class _BFloat(ir.Type):
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
def _all(b: Any, value: Any) -> Any:
    return _same(b, value)


@_instruction(_LANES, _ARRAY, types.int64)
def _read(b: Any, data: Any, place: Any) -> Any:
    return _load(b, data, place, _VECTOR)


@_instruction(types.void, _ARRAY, types.int64, _LANES)
def _write(b: Any, data: Any, place: Any, value: Any) -> None:
    _store(b, value, data, place)


@_instruction(_LANES, _ARRAY, types.int64)
def _read_bf16(b: Any, data: Any, place: Any) -> Any:
    wide = b.zext(_load(b, data, place, _HALVES), _WORDS)
    return b.bitcast(b.shl(wide, ir.Constant(_WORDS, [16] * 16)), _VECTOR)


@_instruction(types.void, _ARRAY, types.int64, _LANES, _LANES)
def _write_bf16(b: Any, data: Any, place: Any, one: Any, two: Any) -> None:
    """32 values, rounded to nearest, ties to even."""
    kind = ir.VectorType(_BFloat(), 32)
    _store(b, _call(b, "llvm.x86.avx512bf16.cvtne2ps2bf16.512", kind, two, one), data, place)


@_instruction(_LANES, _LANES, _LANES, _LANES)
def _fused(b: Any, by: Any, times: Any, plus: Any) -> Any:
    """by · times + plus, rounded once."""
    return _call(b, "llvm.fma.v16f32", _VECTOR, by, times, plus)


@_instruction(_LANES, _LANES, _LANES)
def _larger(b: Any, one: Any, two: Any) -> Any:
    return _larger_of(b, one, two)


@_instruction(_LANES, _LANES, _LANES)
def _smaller(b: Any, one: Any, two: Any) -> Any:
    return b.select(b.fcmp_ordered("<", one, two), one, two)


@_instruction(types.float32, _LANES)
def _largest(b: Any, value: Any) -> Any:
    return _folded(b, value, lambda one, two: _larger_of(b, one, two))


@_instruction(types.float32, _LANES)
def _total(b: Any, value: Any) -> Any:
    return _folded(b, value, b.fadd)


@_instruction(_LANES, _LANES, types.int64, _LANES)
def _first(b: Any, value: Any, count: Any, other: Any) -> Any:
    """The first `count` lanes of value, and those of other behind them."""
    wanted = b.icmp_signed("<", ir.Constant(_WORDS, list(range(16))), _same(b, b.trunc(count, _I32)))
    return b.select(wanted, value, other)


@_instruction(_LANES, _LANES)
def _rounded(b: Any, value: Any) -> Any:
    return _call(b, "llvm.rint.v16f32", _VECTOR, value)


@_instruction(_LANES, _LANES, _LANES)
def _scaled(b: Any, value: Any, exponent: Any) -> Any:
    """value · 2^exponent, for whole exponents of any size."""
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


_ROWS = (_ARRAY, types.int64, types.int64, types.int64, _ARRAY, types.int64)  # from, its place, stride, last row; to, place


@_instruction(types.void, *_ROWS)
def _transpose(b: Any, source: Any, place: Any, stride: Any, last: Any, to: Any, at: Any) -> None:
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
def _interleave(b: Any, source: Any, place: Any, stride: Any, last: Any, to: Any, at: Any) -> None:
    """32 rows of 16 bf16 values, the values of two rows in turns; 0 behind the last row."""
    zero = ir.Constant(_HALVES, [0] * 16)
    for r in range(0, 32, 2):
        pair = [_row(b, source, place, stride, r + i, last, _HALVES) for i in (0, 1)]
        pair = [b.select(b.icmp_signed("<=", _I64(r + i), last), pair[i], zero) for i in (0, 1)]
        _store(b, _shuffled(b, *pair, [i // 2 + i % 2 * 16 for i in range(32)]), to, b.add(at, _I64(16 * r)))


@_instruction(types.void, _ARRAY)
def _configure(b: Any, data: Any) -> None:
    _call(b, "llvm.x86.ldtilecfg", ir.VoidType(), _at(b, data, _I64(0), _I8))


@_instruction(types.void)
def _release(b: Any) -> None:
    _call(b, "llvm.x86.tilerelease", ir.VoidType())


@_instruction(types.void, _TILE)
def _clear(b: Any, tile: Any) -> None:
    _call(b, "llvm.x86.tilezero", ir.VoidType(), tile)


@_instruction(types.void, _TILE, _ARRAY, types.int64, types.int64)
def _take(b: Any, tile: Any, data: Any, place: Any, stride: Any) -> None:
    """Fills a tile; the stride between its rows is in bytes."""
    _call(b, "llvm.x86.tileloadd64", ir.VoidType(), tile, _at(b, data, place, _I8), stride)


@_instruction(types.void, _TILE, _ARRAY, types.int64, types.int64)
def _put(b: Any, tile: Any, data: Any, place: Any, stride: Any) -> None:
    _call(b, "llvm.x86.tilestored64", ir.VoidType(), tile, _at(b, data, place, _I8), stride)


@_instruction(types.void, _TILE, _TILE, _TILE)
def _multiply(b: Any, total: Any, left: Any, right: Any) -> None:
    """Adds to float32 (16, 16) the product of bf16 (16, 32) and (32, 16), the latter with two rows in turns."""
    _call(b, "llvm.x86.tdpbf16ps", ir.VoidType(), total, left, right)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _two_to(x: Any) -> Any:
    """2^x, off by 7.5e-5 of it: less than a twentieth of a bf16 value's last place."""
    whole = _rounded(x)
    part = x - whole
    found = _fused(_all(_F(0.055171258)), part, _all(_F(0.24261039)))
    found = _fused(_fused(found, part, _all(_F(0.69326098))), part, _all(_F(0.99992812)))
    return _scaled(found, whole)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _aligned(count: Any) -> Any:
    """float32 (count,) that begins with a line of the cache."""
    whole = np.zeros(count + 16, np.float32)
    skipped = (64 - whole.ctypes.data % 64) // 4 % 16
    return whole[skipped : skipped + count]


@njit(inline="always")  # type: ignore[untyped-decorator]
def _score(qkv: Any, query: Any, rows: Any, depth: Any, keys: Any, block: Any, scores: Any, to: Any) -> None:
    """Fills scores, float32 (16, 32) from `to` on, with the products of 16 queries and 32 keys."""
    for half in range(2):
        _clear(0)
        for deep in range(depth):
            _take(1, qkv, (query + deep * rows) * 32, 64)
            _take(2, keys, ((2 * block + half) * depth + deep) * 256, 64)
            _multiply(0, 1, 2)
        _put(0, scores, to + 16 * half, 128)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _weigh(scores: Any, begin: Any, scale: Any, low: Any, weights: Any) -> None:
    """Fills weights, bf16 (16, 32) from `begin` on, with 2^(scale · score + low), low being one of a row."""
    by = _all(scale)
    for row in range(16):
        plus, t = _all(low[row]), begin + 32 * row
        one, two = _fused(_read(scores, t), by, plus), _fused(_read(scores, t + 16), by, plus)
        _write_bf16(weights, t, _two_to(one), _two_to(two))


@njit(inline="always")  # type: ignore[untyped-decorator]
def _gather(weights: Any, begin: Any, values: Any, block: Any, depth: Any, ones: Any, one: Any) -> None:
    """Adds weights (16, 32) times 32 values to the tiles from 3 on, and the sum of the weights to tile 7."""
    if block == 0:
        _clear(3)
        _clear(4)
        _clear(5)
        _clear(6)
        _clear(7)
    place = block * depth * 1024
    _take(1, weights, begin, 64)
    _take(2, values, place, 64)
    _multiply(3, 1, 2)
    _take(2, values, place + 512, 64)
    _multiply(4, 1, 2)
    if depth == 2:
        _take(2, values, place + 1024, 64)
        _multiply(5, 1, 2)
        _take(2, values, place + 1536, 64)
        _multiply(6, 1, 2)
    _take(2, ones, one, 64)
    _multiply(7, 1, 2)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _settle(depth: Any, found: Any, count: Any, out: Any, to: Any, rows: Any) -> Any:
    """Writes what tiles have gathered over the sum of their weights. Returns whether all of these sums are far from 0 and infinity."""
    _put(3, found, 0, 128)
    _put(4, found, 16, 128)
    if depth == 2:
        _put(5, found, 512, 128)
        _put(6, found, 528, 128)
    _put(7, found, 1024, 64)
    fine = True
    for row in range(count):
        total = found[1024 + 16 * row]
        fine &= _F(2.0**-60) < total < _F(2.0**100)
        share = _all(_F(1) / total)
        for deep in range(depth):
            t = 512 * deep + 32 * row
            _write_bf16(out, to + 32 * (deep * rows + row), _read(found, t) * share, _read(found, t + 16) * share)
    return fine


@njit(inline="always")  # type: ignore[untyped-decorator]
def _gelu(x: Any) -> Any:
    """x · Φ(x), off by less than 5e-5: Φ(x) = 1/2 + x · p(x²) up to 4.25, where p has the least error of x² · p(x²)."""
    x = _larger(x, _all(_F(-4.25)))
    bounded = _smaller(x, _all(_F(4.25)))
    z = bounded * bounded
    p = _fused(_all(_F(4.5471543e-11)), z, _all(_F(-4.5153684e-09)))
    p = _fused(_fused(p, z, _all(_F(1.9861807e-07))), z, _all(_F(-5.1475531e-06)))
    p = _fused(_fused(p, z, _all(_F(8.8489549e-05))), z, _all(_F(-0.0010790805)))
    p = _fused(_fused(p, z, _all(_F(0.0097187879))), z, _all(_F(-0.066190295)))
    p = _fused(p, z, _all(_F(0.39881924)))
    return x * _fused(p, bounded, _all(_F(0.5)))


@njit(inline="always")  # type: ignore[untyped-decorator]
def _finish(sums: Any, begin: Any, first: Any, last: Any, bias: Any, column: Any, raised: Any, out: Any, at: Any) -> None:
    """Writes the rows `first` to `last` of a block of float32 (32, 32)."""
    for row in range(first, last):
        one = _read(sums, begin + 32 * row) + _read(bias, column)
        two = _read(sums, begin + 32 * row + 16) + _read(bias, column + 16)
        if raised:
            one, two = _gelu(one), _gelu(two)
        _write_bf16(out, at + 32 * row, one, two)


@compiled(
    types.void(
        _GIVEN, types.int64, types.int64, _GIVEN, _WEIGHTS, types.int64, types.boolean, _TILES, _BITS, types.int64
    )
)
def product(
    values: Any, rows: Any, count: Any, weights: Any, bias: Any, k: Any, raised: Any, tiles: Any, out: Any, lines: Any
) -> None:
    """Fills out (count, n) with values (count, k) · weights + bias, through GELU if `raised`; count, k and n are multiples of 32.

    `rows` and `lines` are those of the whole arrays that values and out belong to. `weights` has for each 32 columns, for each
    32 of k, two tiles of 16 columns, in each of which lie pairs of k in turns: (n/32, k/32, 2, 16, 16, 2). Values are added
    in ascending k. A block of 32 rows and columns is finished while the next one is multiplied, by other units of the core.
    """
    steps, sums = k // 32, _aligned(2048)
    each = (32 + steps - 1) // steps
    now, column_before, to_before, some = 0, 0, 0, False
    _configure(tiles)
    for column in range(0, len(bias), 32):
        for row in range(0, count, 32):
            _clear(0)
            _clear(1)
            _clear(2)
            _clear(3)
            for step in range(steps):
                place, weight = (step * rows + row) * 32, (column // 32 * steps + step) * 1024
                _take(4, values, place, 64)
                _take(6, weights, weight, 64)
                _multiply(0, 4, 6)
                _take(7, weights, weight + 512, 64)
                _multiply(1, 4, 7)
                _take(5, values, place + 512, 64)
                _multiply(2, 5, 6)
                _multiply(3, 5, 7)
                if some:
                    first, last = min(32, step * each), min(32, step * each + each)
                    _finish(sums, 1024 - now, first, last, bias, column_before, raised, out, to_before)
            _put(0, sums, now, 128)
            _put(1, sums, now + 16, 128)
            _put(2, sums, now + 512, 128)
            _put(3, sums, now + 528, 128)
            now, column_before, to_before, some = 1024 - now, column, column * lines + 32 * row, True
    _release()
    _finish(sums, 1024 - now, 0, 32, bias, column_before, raised, out, to_before)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _lower(scores: Any, begin: Any, count: Any, scale: Any, first: Any, low: Any) -> None:
    """Lowers `low` of each row of scores (16, 32), so that 2^(scale · score + low) is at most 1 in its first `count` places."""
    nothing = _all(_F(-np.inf))
    for row in range(16):
        t = begin + 32 * row
        one, two = _first(_read(scores, t), count, nothing), _first(_read(scores, t + 16), count - 16, nothing)
        found = -scale * _largest(_larger(one, two))
        low[row] = found if first or found < low[row] else low[row]


@compiled(types.void(_GIVEN, types.int64, _PLACES, _PLACES, types.int64, types.int64, types.float32, _TILES, _BITS))
def attention(
    qkv: Any, rows: Any, starts: Any, widths: Any, heads: Any, depth: Any, scale: Any, tiles: Any, out: Any
) -> None:
    """Fills out (rows, d) with each text's attention over itself, d = heads · depth · 32, where depth is 1 or 2.

    `qkv` (rows, 3d) has queries, keys and values. A text has `widths` rows from `starts` on, and rows behind the last text
    become 0. `scale` times log2(e) is given. Softmax subtracts no maximum, which no precision needs as long as 2^score stays
    within the range of float32; where the sums of a block of 16 rows show that it did not, the block is done again with it.
    Scores of the next 32 keys and sums over the last ones are computed while weights of the present ones are.
    """
    most = 0
    for width in widths:
        most = max(most, (width + 31) // 32)
    keys, values = _aligned(most * depth * 512).view(np.int32), _aligned(most * depth * 512).view(np.uint16)
    scores, weights, found = _aligned(1536), _aligned(768).view(np.uint16), _aligned(1280)
    ones, low, pairs = _aligned(512).view(np.uint16), np.zeros(16, np.float32), qkv.view(np.int32)
    ones[:512] = 0x3F80
    _configure(tiles)
    for text in range(len(starts)):
        width = widths[text]
        blocks, turns = (width + 31) // 32, (width + 15) // 16
        for t in range(512):  # ones for the last keys of the text, where there are keys
            ones[512 + t] = 0x3F80 if 32 * (blocks - 1) + t // 32 * 2 + t % 2 < width else 0
        for head in range(heads):
            query = head * depth * rows + starts[text]
            for deep in range(depth):
                key = query + (heads * depth + deep) * rows
                for tile in range(2 * blocks):
                    row = min(16 * tile, width - 1)
                    _transpose(pairs, (key + row) * 16, 16, width - 1 - row, keys, (tile * depth + deep) * 256)
                value = key + heads * depth * rows
                for block in range(blocks):
                    place, to, last = (value + 32 * block) * 32, (block * depth + deep) * 1024, width - 1 - 32 * block
                    _interleave(qkv, place, 32, last, values, to)
                    _interleave(qkv, place + 16, 32, last, values, to + 512)
            for step in range(blocks * turns + 2):
                here, there = step % 2 * 512, (step + 1) % 2 * 512
                if step < blocks * turns:
                    turn, block = step // blocks, step % blocks
                    _score(qkv, query + 16 * turn, rows, depth, keys, block, scores, here)
                if step > 1:
                    turn, block = (step - 2) // blocks, (step - 2) % blocks
                    last = block == blocks - 1
                    _gather(weights, here, values, block, depth, ones, 512 if last else 0)
                    if last:
                        count, to = min(16, width - 16 * turn), (query + 16 * turn) * 32
                        if not _settle(depth, found, count, out, to, rows):
                            for part in range(2 * blocks):
                                block = part % blocks
                                _score(qkv, query + 16 * turn, rows, depth, keys, block, scores, 1024)
                                if part < blocks:
                                    _lower(scores, 1024, width - 32 * block, scale, block == 0, low)
                                else:
                                    _weigh(scores, 1024, scale, low, weights)
                                    end = 512 if block == blocks - 1 else 0
                                    _gather(weights, 1024, values, block, depth, ones, end)
                            _settle(depth, found, count, out, to, rows)
                            low[:] = 0
                if 0 < step <= blocks * turns:
                    _weigh(scores, there, scale, low, weights)
    _release()
    for chunk in range(heads * depth):
        out[(chunk * rows + starts[-1] + widths[-1]) * 32 : (chunk + 1) * rows * 32] = 0


@njit(inline="always")  # type: ignore[untyped-decorator]
def _sum(left: Any, i: Any, right: Any, j: Any, lines: Any, t: Any) -> Any:
    """Writes the sum of 32 values to lines from t on. Returns the sums of two of them each."""
    one, two = _read_bf16(left, i) + _read_bf16(right, j), _read_bf16(left, i + 16) + _read_bf16(right, j + 16)
    _write(lines, t, one)
    _write(lines, t + 16, two)
    return one + two


@njit(inline="always")  # type: ignore[untyped-decorator]
def _normalise(lines: Any, means: Any, weight: Any, bias: Any, epsilon: Any, out: Any, rows: Any, row: Any) -> None:
    """Writes 8 lines, float32 (8 · d,), with mean 0 and variance 1, times weight and plus bias, to out (rows, d) from `row` on.

    Rows do not wait for each other's sums, so that all of them are under way in the core at the same time.
    """
    d, shares = len(weight), np.empty(8, np.float32)
    for r in range(8):
        mean, first, second = _all(means[r]), _all(_F(0)), _all(_F(0))
        for t in range(r * d, r * d + d, 32):
            one, two = _read(lines, t) - mean, _read(lines, t + 16) - mean
            first, second = _fused(one, one, first), _fused(two, two, second)
        shares[r] = _F(1) / np.sqrt(_total(first + second) / _F(d) + epsilon)
    for r in range(8):
        mean, by = _all(means[r]), _all(shares[r])
        for t in range(0, d, 32):
            one, two = _read(lines, r * d + t) - mean, _read(lines, r * d + t + 16) - mean
            one = _fused(one * by, _read(weight, t), _read(bias, t))
            two = _fused(two * by, _read(weight, t + 16), _read(bias, t + 16))
            _write_bf16(out, t * rows + 32 * (row + r), one, two)


@compiled(types.void(_BITS, types.int64, _GIVEN, _WEIGHTS, _WEIGHTS, types.float32))
def add_normalised(hidden: Any, rows: Any, added: Any, weight: Any, bias: Any, epsilon: Any) -> None:
    """Hidden states (rows, d) become the layer normalisation of their sum with `added`."""
    d, lines, means = len(weight), _aligned(8 * len(weight)), np.empty(8, np.float32)
    for row in range(0, rows, 8):
        for r in range(8):
            total = _all(_F(0))
            for t in range(0, d, 32):
                place = t * rows + 32 * (row + r)
                total = total + _sum(hidden, place, added, place, lines, r * d + t)
            means[r] = _total(total) / _F(d)
        _normalise(lines, means, weight, bias, epsilon, hidden, rows, row)


@compiled(types.void(_GIVEN, _PLACES, _GIVEN, _PLACES, _WEIGHTS, _WEIGHTS, types.float32, _BITS))
def embeddings(
    words: Any, ids: Any, positions: Any, places: Any, weight: Any, bias: Any, epsilon: Any, out: Any
) -> None:
    """Fills out (t, d) with the layer normalisation of each token's row of `words` plus its place's of `positions`, both row by row."""
    d, lines, means = len(weight), _aligned(8 * len(weight)), np.empty(8, np.float32)
    for row in range(0, len(ids), 8):
        for r in range(8):
            total, word, place = _all(_F(0)), ids[row + r] * d, places[row + r] * d
            for t in range(0, d, 32):
                total = total + _sum(words, word + t, positions, place + t, lines, r * d + t)
            means[r] = _total(total) / _F(d)
        _normalise(lines, means, weight, bias, epsilon, out, len(ids), row)


@compiled(types.void(_GIVEN, types.int64, _PLACES, _PLACES, types.float32[:, ::1]))
def means(hidden: Any, rows: Any, starts: Any, widths: Any, out: Any) -> None:
    """Fills out, float32 (m, d), with the mean of the rows of (rows, d) from `starts` on, `widths` of them."""
    d, flat = out.shape[1], out.reshape(-1)
    for text in range(len(starts)):
        share = _all(_F(1) / _F(widths[text]))
        for t in range(0, d, 16):
            total, place = _all(_F(0)), (t // 32 * rows + starts[text]) * 32 + t % 32
            for row in range(widths[text]):
                total = total + _read_bf16(hidden, place + 32 * row)
            _write(flat, text * d + t, total * share)
