"""Which of many scores are above a limit, and which of these can be among the best.

Few scores are above their limit, so values are looked at 64 bytes at a time first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types

from stages.compiled import compiled, given

_OUT = (types.int32[::1], types.uint16[::1], types.float32[::1], types.float32[::1])
_CHUNKS = 256  # of 64 bytes, looked at before any of them is looked at closely


@njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _nonzero(values: Any, words: Any, first: Any, chunks: Any, full: Any, places: Any) -> Any:
    """Fills places with those of values that are not 0, from the chunk `first` on. Returns how many.

    Where there is a choice it is written down at once and counted if it holds, as a branch that cannot be foretold costs more.
    """
    per_word, last = len(values) // len(words), min(first + _CHUNKS, (len(words) + 7) // 8)
    some = 0
    for chunk in range(first, min(last, len(words) // 8)):
        w = 8 * chunk
        four = words[w] | words[w + 1] | words[w + 2] | words[w + 3]
        chunks[some] = chunk
        some += four | words[w + 4] | words[w + 5] | words[w + 6] | words[w + 7] != 0
    if 8 * last > len(words):
        chunks[some] = last - 1
        some += 1
    filled = 0
    for at in range(some):
        for word in range(8 * chunks[at], min(8 * chunks[at] + 8, len(words))):
            full[filled] = word
            filled += words[word] != 0
    found = 0
    for at in range(filled):
        for place in range(per_word * full[at], per_word * (full[at] + 1)):
            places[found] = place
            found += values[place] != 0
    return found


@compiled(
    types.int64(
        given(types.uint8), types.int64, types.float32, given(types.float32), given(types.float32), *_OUT,
    )
)  # fmt: skip
def of_bytes(
    values: Any,
    columns: Any,
    step: Any,
    low: Any,
    high: Any,
    rows: Any,
    queries: Any,
    least: Any,
    most: Any,
) -> Any:
    """Pairs of values, uint8 (n · columns,), that are not 0: a value times `step` is above `low` and below `high` of its column.

    255 is the top of the range. Returns how many pairs there are.
    """
    chunks, full = np.empty(_CHUNKS, np.int32), np.empty(8 * _CHUNKS, np.int32)
    places, across, pair = np.empty(64 * _CHUNKS, np.int32), np.uint32(columns), 0
    words = values.view(np.int64)
    for first in range(0, (len(words) + 7) // 8, _CHUNKS):
        for at in range(_nonzero(values, words, first, chunks, full, places)):
            place = np.uint32(places[at])
            row = place // across
            query = place - row * across
            if query >= len(low):  # beyond the queries there is padding
                continue
            rough = np.float32(values[place]) * step
            rows[pair], queries[pair] = row, query
            least[pair] = rough + low[query]
            most[pair] = rough + high[query] if values[place] != 255 else np.inf
            pair += 1
    return pair


@compiled(types.int64(given(types.uint16), types.int64, given(types.float32), given(types.float32), *_OUT))
def of_bfloat16(values: Any, columns: Any, low: Any, high: Any, rows: Any, queries: Any, least: Any, most: Any) -> Any:
    """The same of bfloat16 values, given as uint16, which were rounded to 8 bits: half of what is allowed for here."""
    chunks, full = np.empty(_CHUNKS, np.int32), np.empty(8 * _CHUNKS, np.int32)
    places, across, pair = np.empty(32 * _CHUNKS, np.int32), np.uint32(columns), 0
    words = values.view(np.int64)
    bits = np.empty(1, np.uint32)
    value = bits.view(np.float32)
    for first in range(0, (len(words) + 7) // 8, _CHUNKS):
        for at in range(_nonzero(values, words, first, chunks, full, places)):
            place = np.uint32(places[at])
            row = place // across
            query = place - row * across
            if query >= len(low):
                continue
            bits[0] = np.uint32(values[place]) << np.uint32(16)
            rows[pair], queries[pair] = row, query
            least[pair] = value[0] * np.float32(1 - 2.0**-8) + low[query]
            most[pair] = value[0] * np.float32(1 + 2.0**-8) + high[query]
            pair += 1
    return pair


@compiled(types.int64(given(types.float32, 2), given(types.float32), given(types.float32), *_OUT))
def of_float32(values: Any, floor: Any, error: Any, rows: Any, queries: Any, least: Any, most: Any) -> Any:
    """Pairs of values, float32 (n, columns), above the floor of their column, which are off by `error` and a fraction of 2^-21.

    Some rows are compared at a time, to flags of a byte, which are then looked at as bytes are.
    """
    columns, pair = min(values.shape[1], len(floor)), 0  # beyond the queries there is padding
    wide = (columns + 7) // 8 * 8
    together = max(1, 64 * _CHUNKS // wide)
    all_flags = np.zeros(together * wide, np.uint8)
    chunks, full = np.empty(_CHUNKS, np.int32), np.empty(8 * _CHUNKS, np.int32)
    places, across = np.empty(64 * _CHUNKS, np.int32), np.uint32(wide)
    for start in range(0, len(values), together):
        count = min(together, len(values) - start)
        for of in range(count):
            line, begin = values[start + of], of * wide
            for column in range(columns):
                all_flags[begin + column] = line[column] > floor[column]
        flags = all_flags[: count * wide]
        words = flags.view(np.int64)
        for first in range(0, (len(words) + 7) // 8, _CHUNKS):
            for at in range(_nonzero(flags, words, first, chunks, full, places)):
                place = np.uint32(places[at])
                row = place // across
                query = place - row * across
                rough = values[start + row, query]
                off = error[query] + abs(rough) * np.float32(2.0**-21)
                rows[pair], queries[pair] = start + row, query
                least[pair], most[pair] = rough - off, rough + off
                pair += 1
    return pair


@njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _largest(values: Any, k: Any) -> Any:
    """The k-th largest, k from 1 on, of values which are moved about (Hoare's selection)."""
    low, high, wanted = 0, len(values) - 1, k - 1
    while low < high:
        middle, left, right = values[(low + high) // 2], low, high
        while left <= right:
            while values[left] > middle:
                left += 1
            while values[right] < middle:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if wanted <= right:
            high = right
        elif wanted >= left:
            low = left
        else:
            break
    return values[wanted]


@compiled(
    types.Tuple((types.int64[::1], types.int64[::1], types.float64[::1], types.float64[::1], types.boolean[::1]))(
        given(types.int32), given(types.uint16), given(types.float32), given(types.float32), given(types.float64),
        types.int64,
    )
)  # fmt: skip
def contenders(rows: Any, queries: Any, least: Any, most: Any, ties: Any, k: Any) -> Any:
    """Of pairs, those that can be among the k best of their query: offsets, rows, least, most and likely of `Candidates`.

    `least` and `most` are bounds of each score. k documents score at least the k-th of the lower bounds, and only what
    scores less than that by more than `ties`, float64 (m,), is left out. Pairs stay in their order within a query.
    """
    count = np.zeros(len(ties) + 1, np.int64)
    for query in queries:
        count[query + 1] += 1
    most_pairs = 0
    for query in range(len(ties)):
        most_pairs = max(most_pairs, count[query + 1])
        count[query + 1] += count[query]
    begins, place, falling = count, np.empty(len(rows), np.int64), np.empty(most_pairs, np.float32)
    free = np.empty(len(ties), np.int64)
    for query in range(len(ties)):
        free[query] = begins[query]
    for pair in range(len(rows)):
        place[free[queries[pair]]] = pair
        free[queries[pair]] += 1
    floors, offsets = np.empty(len(ties)), np.zeros(len(ties) + 1, np.int64)
    for query in range(len(ties)):
        own = place[begins[query] : begins[query + 1]]
        floors[query] = -np.inf
        if len(own) >= k:
            for at in range(len(own)):
                falling[at] = least[own[at]]
            floors[query] = _largest(falling[: len(own)], k)
        kept = 0
        for pair in own:
            kept += most[pair] >= floors[query] - ties[query]
        offsets[query + 1] = offsets[query] + kept
    total = offsets[-1]
    out_rows, likely = np.empty(total, np.int64), np.empty(total, np.bool_)
    out_least, out_most = np.empty(total), np.empty(total)
    at = 0
    for query in range(len(ties)):
        for pair in place[begins[query] : begins[query + 1]]:
            if most[pair] >= floors[query] - ties[query]:
                out_rows[at], out_least[at], out_most[at] = rows[pair], least[pair], most[pair]
                likely[at] = least[pair] >= floors[query]
                at += 1
    return offsets, out_rows, out_least, out_most, likely
