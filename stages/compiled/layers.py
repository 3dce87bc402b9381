"""The layers of an encoder in bf16: products, attention, GELU, normalisation, means.

For processors with AMX and AVX-512, see `stages.compiled.instructions`. bf16 is given as uint16; sums are float32.

An array (rows, d) lies in memory as (d/32, rows, 32), so that 16 rows of 32 values are a tile, and 32 values a line of the
cache. `tiles` says that all tiles are whole. A row's or a text's result hangs on nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types

from stages.compiled import compiled, given
from stages.compiled.instructions import (
    TILES,
    aligned,
    clear,
    clear_block,
    configure,
    every,
    fetch,
    first_of,
    fused,
    interleave,
    larger,
    largest,
    multiply,
    multiply_block,
    put,
    put_block,
    read,
    read_bf16,
    release,
    require,
    rounded,
    scaled,
    smaller,
    summed,
    take,
    transpose,
    write,
    write_bf16,
)

require()

_F = np.float32
_BITS, _GIVEN = types.uint16[::1], given(types.uint16)
_PLACES, _WEIGHTS = given(types.int64), given(types.float32)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _two_to(x: Any) -> Any:
    """2^x, off by 7.5e-5 of it: less than a twentieth of a bf16 value's last place."""
    whole = rounded(x)
    part = x - whole
    found = fused(every(_F(0.055171258)), part, every(_F(0.24261039)))
    found = fused(fused(found, part, every(_F(0.69326098))), part, every(_F(0.99992812)))
    return scaled(found, whole)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _score(qkv: Any, query: Any, rows: Any, depth: Any, keys: Any, block: Any, scores: Any, to: Any) -> None:
    """Fills scores, float32 (16, 32) from `to` on, with the products of 16 queries and 32 keys."""
    for half in range(2):
        clear(0)
        for deep in range(depth):
            take(1, qkv, (query + deep * rows) * 32, 64)
            take(2, keys, ((2 * block + half) * depth + deep) * 256, 64)
            multiply(0, 1, 2)
        put(0, scores, to + 16 * half, 128)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _weigh(scores: Any, begin: Any, scale: Any, low: Any, weights: Any) -> None:
    """Fills weights, bf16 (16, 32) from `begin` on, with 2^(scale · score + low), low being one of a row."""
    by = every(scale)
    for row in range(16):
        plus, t = every(low[row]), begin + 32 * row
        one, two = fused(read(scores, t), by, plus), fused(read(scores, t + 16), by, plus)
        write_bf16(weights, t, _two_to(one), _two_to(two))


@njit(inline="always")  # type: ignore[untyped-decorator]
def _gather(weights: Any, begin: Any, values: Any, block: Any, depth: Any, ones: Any, one: Any) -> None:
    """Adds weights (16, 32) times 32 values to the tiles from 3 on, and the sum of the weights to tile 7."""
    if block == 0:
        clear(3)
        clear(4)
        clear(5)
        clear(6)
        clear(7)
    place = block * depth * 1024
    take(1, weights, begin, 64)
    take(2, values, place, 64)
    multiply(3, 1, 2)
    take(2, values, place + 512, 64)
    multiply(4, 1, 2)
    if depth == 2:
        take(2, values, place + 1024, 64)
        multiply(5, 1, 2)
        take(2, values, place + 1536, 64)
        multiply(6, 1, 2)
    take(2, ones, one, 64)
    multiply(7, 1, 2)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _settle(depth: Any, found: Any, count: Any, out: Any, to: Any, rows: Any) -> Any:
    """Writes what tiles have gathered over the sum of their weights. Returns whether all of these sums are far from 0 and infinity."""
    put(3, found, 0, 128)
    put(4, found, 16, 128)
    if depth == 2:
        put(5, found, 512, 128)
        put(6, found, 528, 128)
    put(7, found, 1024, 64)
    fine = True
    for row in range(count):
        total = found[1024 + 16 * row]
        fine &= _F(2.0**-60) < total < _F(2.0**100)
        share = every(_F(1) / total)
        for deep in range(depth):
            t = 512 * deep + 32 * row
            write_bf16(out, to + 32 * (deep * rows + row), read(found, t) * share, read(found, t + 16) * share)
    return fine


@njit(inline="always")  # type: ignore[untyped-decorator]
def _gelu(x: Any) -> Any:
    """GELU, x · Φ(x), off by less than 5e-5: Φ(x) = 1/2 + x · p(x²) up to 4.25, where p has the least error of x² · p(x²)."""
    x = larger(x, every(_F(-4.25)))
    bounded = smaller(x, every(_F(4.25)))
    z = bounded * bounded
    p = fused(every(_F(4.5471543e-11)), z, every(_F(-4.5153684e-09)))
    p = fused(fused(p, z, every(_F(1.9861807e-07))), z, every(_F(-5.1475531e-06)))
    p = fused(fused(p, z, every(_F(8.8489549e-05))), z, every(_F(-0.0010790805)))
    p = fused(fused(p, z, every(_F(0.0097187879))), z, every(_F(-0.066190295)))
    p = fused(p, z, every(_F(0.39881924)))
    return x * fused(p, bounded, every(_F(0.5)))


@njit(inline="always")  # type: ignore[untyped-decorator]
def _finish(
    sums: Any, begin: Any, first: Any, last: Any, bias: Any, column: Any, raised: Any, out: Any, at: Any
) -> None:
    """Writes the rows `first` to `last` of a block of float32 (32, 32)."""
    for row in range(first, last):
        one = read(sums, begin + 32 * row) + read(bias, column)
        two = read(sums, begin + 32 * row + 16) + read(bias, column + 16)
        if raised:
            one, two = _gelu(one), _gelu(two)
        write_bf16(out, at + 32 * row, one, two)


@compiled(
    types.void(
        _GIVEN, types.int64, types.int64, _GIVEN, _WEIGHTS, types.int64, types.boolean, TILES, _BITS, types.int64
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
    steps, sums = k // 32, aligned(2048)
    each = (32 + steps - 1) // steps
    now, column_before, to_before, some = 0, 0, 0, False
    configure(tiles)
    across, down = len(bias) // 32, count // 32
    for block in range(across * down):
        if k > 512:  # which of the two stays in the nearest cache: the values, or the weights
            row, column = 32 * (block // across), 32 * (block % across)
        else:
            row, column = 32 * (block % down), 32 * (block // down)
        clear_block()
        for step in range(steps):
            multiply_block(values, (step * rows + row) * 32, weights, (column // 32 * steps + step) * 1024)
            first, last = min(32, step * each), min(32, step * each + each)
            for line in range(first, last):
                fetch(out, column * lines + 32 * (row + line))
            if some:
                _finish(sums, 1024 - now, first, last, bias, column_before, raised, out, to_before)
        put_block(sums, now, 32)
        now, column_before, to_before, some = 1024 - now, column, column * lines + 32 * row, True
    release()
    _finish(sums, 1024 - now, 0, 32, bias, column_before, raised, out, to_before)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _lower(scores: Any, begin: Any, count: Any, scale: Any, first: Any, low: Any) -> None:
    """Lowers `low` of each row of scores (16, 32), so that 2^(scale · score + low) is at most 1 in its first `count` places."""
    nothing = every(_F(-np.inf))
    for row in range(16):
        t = begin + 32 * row
        one, two = first_of(read(scores, t), count, nothing), first_of(read(scores, t + 16), count - 16, nothing)
        found = -scale * largest(larger(one, two))
        low[row] = found if first or found < low[row] else low[row]


@njit(inline="always")  # type: ignore[untyped-decorator]
def _arrange(
    qkv: Any, pairs: Any, rows: Any, key: Any, value: Any, width: Any, depth: Any, keys: Any, values: Any
) -> None:
    """Fills keys and values with tiles of a text's keys and values of one head, which begin in rows `key` and `value` of qkv."""
    blocks = (width + 31) // 32
    for deep in range(depth):
        for tile in range(2 * blocks):
            row = min(16 * tile, width - 1)
            transpose(pairs, (key + deep * rows + row) * 16, 16, width - 1 - row, keys, (tile * depth + deep) * 256)
        for block in range(blocks):
            place, last = (value + deep * rows + 32 * block) * 32, width - 1 - 32 * block
            interleave(qkv, place, 32, last, values, (block * depth + deep) * 1024)
            interleave(qkv, place + 16, 32, last, values, (block * depth + deep) * 1024 + 512)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _again(
    qkv: Any, query: Any, rows: Any, width: Any, depth: Any, scale: Any, keys: Any, values: Any, ones: Any,
    scores: Any, low: Any, weights: Any,
) -> None:  # fmt: skip
    """Gathers the weighted values of 16 rows with each row's largest score subtracted."""
    blocks = (width + 31) // 32
    for part in range(2 * blocks):
        block = part % blocks
        _score(qkv, query, rows, depth, keys, block, scores, 1024)
        if part < blocks:
            _lower(scores, 1024, width - 32 * block, scale, block == 0, low)
        else:
            _weigh(scores, 1024, scale, low, weights)
            _gather(weights, 1024, values, block, depth, ones, 512 if block == blocks - 1 else 0)
    low[:] = 0


@compiled(types.void(_GIVEN, types.int64, _PLACES, _PLACES, types.int64, types.int64, types.float32, TILES, _BITS))
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
    keys, values = aligned(most * depth * 512).view(np.int32), aligned(most * depth * 512).view(np.uint16)
    scores, weights, found = aligned(1536), aligned(768).view(np.uint16), aligned(1280)
    ones, low, pairs = aligned(512).view(np.uint16), np.zeros(16, np.float32), qkv.view(np.int32)
    ones[:512] = 0x3F80
    configure(tiles)
    for text in range(len(starts)):
        width = widths[text]
        blocks, steps = (width + 31) // 32, (width + 31) // 32 * ((width + 15) // 16)
        for t in range(512):  # for the last keys of the text, ones where there are keys
            ones[512 + t] = 0x3F80 if 32 * (blocks - 1) + t // 32 * 2 + t % 2 < width else 0
        for head in range(heads):
            query, apart = head * depth * rows + starts[text], heads * depth * rows
            _arrange(qkv, pairs, rows, query + apart, query + 2 * apart, width, depth, keys, values)
            for step in range(steps + 2):
                here, there = step % 2 * 512, (step + 1) % 2 * 512
                if step < steps:
                    _score(qkv, query + 16 * (step // blocks), rows, depth, keys, step % blocks, scores, here)
                if step > 1:
                    row, block = (step - 2) // blocks * 16, (step - 2) % blocks
                    end = block == blocks - 1
                    _gather(weights, here, values, block, depth, ones, 512 if end else 0)
                    if end:
                        count, to = min(16, width - row), (query + row) * 32
                        if not _settle(depth, found, count, out, to, rows):
                            _again(
                                qkv, query + row, rows, width, depth, scale, keys, values, ones, scores, low, weights
                            )
                            _settle(depth, found, count, out, to, rows)
                if 0 < step <= steps:
                    _weigh(scores, there, scale, low, weights)
    release()
    for chunk in range(heads * depth):
        out[(chunk * rows + starts[-1] + widths[-1]) * 32 : (chunk + 1) * rows * 32] = 0


@njit(inline="always")  # type: ignore[untyped-decorator]
def _sum(left: Any, i: Any, right: Any, j: Any, lines: Any, t: Any) -> Any:
    """Writes the sum of 32 values to lines from t on. Returns the sums of two of them each."""
    one, two = read_bf16(left, i) + read_bf16(right, j), read_bf16(left, i + 16) + read_bf16(right, j + 16)
    write(lines, t, one)
    write(lines, t + 16, two)
    return one + two


@njit(inline="always")  # type: ignore[untyped-decorator]
def _normalise(lines: Any, means: Any, weight: Any, bias: Any, epsilon: Any, out: Any, rows: Any, row: Any) -> None:
    """Writes 8 lines, float32 (8 · d,), with mean 0 and variance 1, times weight and plus bias, to out (rows, d) from `row` on.

    Rows do not wait for each other's sums, so that all of them are under way in the core at the same time.
    """
    d, shares = len(weight), np.empty(8, np.float32)
    for r in range(8):
        mean, first, second = every(means[r]), every(_F(0)), every(_F(0))
        for t in range(r * d, r * d + d, 32):
            one, two = read(lines, t) - mean, read(lines, t + 16) - mean
            first, second = fused(one, one, first), fused(two, two, second)
        shares[r] = _F(1) / np.sqrt(summed(first + second) / _F(d) + epsilon)
    for r in range(8):
        mean, by = every(means[r]), every(shares[r])
        for t in range(0, d, 32):
            one, two = read(lines, r * d + t) - mean, read(lines, r * d + t + 16) - mean
            one = fused(one * by, read(weight, t), read(bias, t))
            two = fused(two * by, read(weight, t + 16), read(bias, t + 16))
            write_bf16(out, t * rows + 32 * (row + r), one, two)


@compiled(types.void(_BITS, types.int64, _GIVEN, _WEIGHTS, _WEIGHTS, types.float32))
def add_normalised(hidden: Any, rows: Any, added: Any, weight: Any, bias: Any, epsilon: Any) -> None:
    """Hidden states (rows, d) become the layer normalisation of their sum with `added`."""
    d, lines, means = len(weight), aligned(8 * len(weight)), np.empty(8, np.float32)
    for row in range(0, rows, 8):
        for r in range(8):
            total = every(_F(0))
            for t in range(0, d, 32):
                place = t * rows + 32 * (row + r)
                total = total + _sum(hidden, place, added, place, lines, r * d + t)
            means[r] = summed(total) / _F(d)
        _normalise(lines, means, weight, bias, epsilon, hidden, rows, row)


@compiled(types.void(_GIVEN, _PLACES, _GIVEN, _PLACES, _WEIGHTS, _WEIGHTS, types.float32, _BITS))
def embeddings(
    words: Any, ids: Any, positions: Any, places: Any, weight: Any, bias: Any, epsilon: Any, out: Any
) -> None:
    """Fills out (t, d) with the layer normalisation of each token's row of `words` plus its place's of `positions`, both row by row."""
    d, lines, means = len(weight), aligned(8 * len(weight)), np.empty(8, np.float32)
    for row in range(0, len(ids), 8):
        for r in range(8):
            total, word, place = every(_F(0)), ids[row + r] * d, places[row + r] * d
            for t in range(0, d, 32):
                total = total + _sum(words, word + t, positions, place + t, lines, r * d + t)
            means[r] = summed(total) / _F(d)
        _normalise(lines, means, weight, bias, epsilon, out, len(ids), row)


@compiled(types.void(_GIVEN, types.int64, _PLACES, _PLACES, types.float32[:, ::1]))
def means(hidden: Any, rows: Any, starts: Any, widths: Any, out: Any) -> None:
    """Fills out, float32 (m, d), with the mean of the rows of (rows, d) from `starts` on, `widths` of them."""
    d, flat = out.shape[1], out.reshape(-1)
    for text in range(len(starts)):
        share = every(_F(1) / _F(widths[text]))
        for t in range(0, d, 16):
            total, place = every(_F(0)), (t // 32 * rows + starts[text]) * 32 + t % 32
            for row in range(widths[text]):
                total = total + read_bf16(hidden, place + 32 * row)
            write(flat, text * d + t, total * share)
