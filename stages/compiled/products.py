"""Inner products of float32 vectors in float64, and the best of them.

Rows lie anywhere in memory, and waiting for them takes longer than multiplying: the next ones are asked for ahead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from stages.compiled import compiled, given

_LANES = 32  # sums that are kept side by side
_AHEAD = 4  # rows
_LINE = 16  # float32 values of a line of the cache

_VECTORS = given(types.float32, 2)
_PLACES = given(types.int64)


@intrinsic  # type: ignore[untyped-decorator]
def _fetch(_: Any, values: Any, place: Any) -> Any:
    """Asks for a line of the cache and does not wait for it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        call = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        builder.call(call, [address, word(0), word(1), word(1)])  # to read, into the outer caches, data
        return context.get_dummy_value()

    return types.void(values, place), generate


@njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _fetch_row(flat: Any, row: Any, d: Any) -> None:
    for place in range(row * d, row * d + d, _LINE):
        _fetch(flat, place)


@njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _product(query: Any, row: Any, sums: Any) -> Any:
    """The inner product of float64 (d,) and float32 (d,). Value t is added to sum t mod 32, and the sums by halves."""
    d = len(row)
    whole = d // _LANES * _LANES
    for lane in range(_LANES):
        sums[lane] = 0.0
    for start in range(0, whole, _LANES):
        for lane in range(_LANES):
            sums[lane] += query[start + lane] * row[start + lane]
    for t in range(whole, d):
        sums[t - whole] += query[t] * row[t]
    half = _LANES // 2
    while half:
        for lane in range(half):
            sums[lane] += sums[half + lane]
        half //= 2
    return sums[0]


@njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _choose(first: Any, count: Any, likely: Any, wanted: Any, most: Any, floor: Any, exact: Any, chosen: Any) -> Any:
    """Fills chosen with the candidates of a query that are likely, or not, and can reach the floor. Returns how many."""
    taken = 0
    for c in range(first, first + count):
        if likely[c] == wanted:
            exact[c - first] = -np.inf
            if not most[c] < floor:
                chosen[taken] = c
                taken += 1
    return taken


@njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _sort_falling(values: Any, order: Any, spare: Any) -> None:
    """Merge sort of places by falling value; those of equal values keep their order."""
    width, count = 1, len(order)
    while width < count:
        for low in range(0, count, 2 * width):
            middle, high = min(low + width, count), min(low + 2 * width, count)
            left, right = low, middle
            for at in range(low, high):
                if left < middle and (right == high or values[order[left]] >= values[order[right]]):
                    spare[at] = order[left]
                    left += 1
                else:
                    spare[at] = order[right]
                    right += 1
        for at in range(count):
            order[at] = spare[at]
        width *= 2


@compiled(types.void(_VECTORS, _VECTORS, _PLACES, _PLACES, types.float64, types.float64[::1]))
def inner_products(left: Any, right: Any, i: Any, j: Any, grid: Any, out: Any) -> None:
    """Fills out, float64 (n,), with products of left[i] and right[j], rounded to multiples of `grid`."""
    d, flat = right.shape[1], right.reshape(-1)
    query, sums, owner = np.empty(d), np.empty(_LANES), -1
    for pair in range(len(i)):
        if i[pair] != owner:
            owner = i[pair]
            for t in range(d):
                query[t] = left[owner, t]
        if pair + _AHEAD < len(j):
            _fetch_row(flat, j[pair + _AHEAD], d)
        out[pair] = np.rint(_product(query, right[j[pair]], sums) / grid) * grid + 0.0  # which makes -0.0 a plain 0


@compiled(
    types.int64(
        _VECTORS, _VECTORS, _PLACES, _PLACES, given(types.float64), given(types.float64), given(types.boolean),
        types.float64, types.int32[:, ::1], types.float64[:, ::1], types.float64[::1],
    )
)  # fmt: skip
def best(
    left: Any,
    right: Any,
    offsets: Any,
    candidates: Any,
    least: Any,
    most: Any,
    likely: Any,
    grid: Any,
    rows: Any,
    scores: Any,
    wrong: Any,
) -> Any:
    """Fills rows and scores (m, k) with the best candidates of each row of left by (-score, row), as far as there are k.

    The likely ones are scored first: they are k or more, or all. What cannot reach the k-th best of them is not scored.
    Returns the candidate whose score is furthest below `least`, with that score in wrong[0], or -1.
    """
    k, d, flat = rows.shape[1], right.shape[1], right.reshape(-1)
    query, sums = np.empty(d), np.empty(_LANES)
    widest = 0
    for q in range(len(left)):
        widest = max(widest, offsets[q + 1] - offsets[q])
    exact, chosen = np.empty(widest), np.empty(widest, np.int64)
    order, spare = np.empty(widest, np.int64), np.empty(widest, np.int64)
    bad, furthest = -1, 0.0
    for q in range(len(left)):
        for t in range(d):
            query[t] = left[q, t]
        first, count, floor = offsets[q], offsets[q + 1] - offsets[q], -np.inf
        for step in range(2):
            taken, lowest = _choose(first, count, likely, step == 0, most, floor, exact, chosen), np.inf
            for place in range(taken):
                if place + _AHEAD < taken:
                    _fetch_row(flat, candidates[chosen[place + _AHEAD]], d)
                c = chosen[place]
                score = np.rint(_product(query, right[candidates[c]], sums) / grid) * grid + 0.0
                exact[c - first], lowest = score, min(lowest, score)
                if least[c] - score > furthest:
                    bad, furthest, wrong[0] = c, least[c] - score, score
            if taken == count:
                break
            floor = lowest
        taken = 0
        for c in range(count):
            if exact[c] > -np.inf:
                order[taken] = c
                taken += 1
        _sort_falling(exact, order[:taken], spare)
        for rank in range(min(k, taken)):
            rows[q, rank], scores[q, rank] = candidates[first + order[rank]], exact[order[rank]]
    return bad
