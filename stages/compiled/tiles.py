"""Products of documents and queries in bf16, of which those above a limit are kept, on processors with AMX.

Codes are bf16 as uint16. Documents (n, d) lie in memory as (n/32, d/32, 32, 32): for each 32 documents, for each 32 values, two
tiles of 16 rows. Queries (m, d) as (m/32, d/32, 2, 16, 16, 2): two tiles of 16 queries, in each of which lie pairs of values in
turns. n, m and d are multiples of 32. Sums are float32, of pairs of values in ascending order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types

from stages.compiled import compiled, given
from stages.compiled.instructions import (
    TILES,
    aligned,
    clear_block,
    configure,
    lowest,
    multiply_block,
    put_block,
    read,
    release,
    require,
)
from stages.compiled.instructions import above as _above

require()

_ROWS = 512  # documents that stay in the cache together with a pack of queries
_CODES, _LIMITS = given(types.uint16), given(types.float32)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _multiply(documents: Any, row: Any, queries: Any, column: Any, step: Any, steps: Any) -> None:
    """Adds to a block the product of 32 values, the `step`-th of all, of 32 documents and 32 queries."""
    multiply_block(documents, (row // 32 * steps + step) * 1024, queries, (column // 32 * steps + step) * 1024)


@compiled(types.void(_CODES, _CODES, types.int64, TILES, types.float32[:, ::1]))
def scores(documents: Any, queries: Any, d: Any, tiles: Any, out: Any) -> None:
    """Fills out, float32 (n, m), with all products."""
    steps, (n, m), flat = d // 32, out.shape, out.reshape(-1)
    configure(tiles)
    for row in range(0, n, 32):
        for column in range(0, m, 32):
            clear_block()
            for step in range(steps):
                _multiply(documents, row, queries, column, step, steps)
            put_block(flat, row * m + column, m)
    release()


@njit(inline="always")  # type: ignore[untyped-decorator]
def _keep(
    sums: Any, first: Any, last: Any, floor: Any, document: Any, query: Any, count: Any, error: Any, pair: Any, out: Any
) -> Any:
    """Writes down those of the rows first to last of 32, sums (32, 32), that are above their floor. Returns the pairs there are then."""
    rows, queries, least, most = out
    for row in range(first, min(last, count - document)):
        bits = _above(sums, 32 * row, *floor)
        while bits:
            column = lowest(bits)
            bits &= bits - 1
            rough, of = sums[32 * row + column], query + column
            off = error[of] + abs(rough) * np.float32(2.0**-21)
            rows[pair], queries[pair] = document + row, of
            least[pair], most[pair] = rough - off, rough + off
            pair += 1
    return pair


@compiled(
    types.int64(
        _CODES, types.int64, _CODES, types.int64, _LIMITS, _LIMITS, TILES,
        types.int32[::1], types.uint16[::1], types.float32[::1], types.float32[::1],
    )
)  # fmt: skip
def above(
    documents: Any,
    count: Any,
    queries: Any,
    d: Any,
    floor: Any,
    error: Any,
    tiles: Any,
    rows: Any,
    places: Any,
    least: Any,
    most: Any,
) -> Any:
    """Pairs of the first `count` documents and of queries that score above `floor` (m,). Returns how many there are.

    A score is off by `error` and a fraction of 2^-21. Scores of 32 documents and queries are looked at while the next ones are
    multiplied, by other units of the core. For each query rows ascend.
    """
    n, steps, pair, out = len(documents) // d, d // 32, 0, (rows, places, least, most)
    each = (32 + steps - 1) // steps
    ready, waiting = aligned(1024), aligned(1024)
    limits, document, query, some = (read(floor, 0), read(floor, 16)), 0, 0, False
    configure(tiles)
    for block in range(0, n, _ROWS):
        for column in range(0, len(floor), 32):
            for row in range(block, min(block + _ROWS, n), 32):
                clear_block()
                for step in range(steps):
                    _multiply(documents, row, queries, column, step, steps)
                    if some:
                        first, last = min(32, step * each), min(32, step * each + each)
                        pair = _keep(ready, first, last, limits, document, query, count, error, pair, out)
                put_block(waiting, 0, 32)
                ready, waiting = waiting, ready
                limits, document, query, some = (read(floor, column), read(floor, column + 16)), row, column, True
    release()
    return _keep(ready, 0, 32, limits, document, query, count, error, pair, out)
