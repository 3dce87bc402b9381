"""Vectors rounded to fewer bits, and how far off the rounded ones are, in one pass over them.

Lengths and errors are upper bounds: sums of d squares in float64 are off by less than a fraction d · 2^-52 in any order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from stages.compiled import compiled, given

_VECTORS = given(types.float32, 2)
_BOUNDS = types.UniTuple(types.float64, 2)


@compiled(_BOUNDS(_VECTORS, types.uint16[:, ::1]), any_order=True)
def to_bfloat16(values: Any, codes: Any) -> Any:
    """Fills codes with the bits of finite float32 (n, d) rounded to nearest, ties to even.

    Returns the largest length among the rows and the largest among what rounding took from them.
    """
    bits, wide, d = values.view(np.uint32), np.empty(values.shape[1], np.uint32), values.shape[1]
    rounded, longest, error = wide.view(np.float32), 0.0, 0.0
    for row in range(len(values)):
        for t in range(d):
            kept = (bits[row, t] + np.uint32(0x7FFF) + ((bits[row, t] >> np.uint32(16)) & np.uint32(1))) >> np.uint32(
                16
            )
            codes[row, t] = kept
            wide[t] = kept << np.uint32(16)
        squares, apart = 0.0, 0.0
        for t in range(d):
            value = np.float64(values[row, t])
            off = value - np.float64(rounded[t])
            squares += value * value
            apart += off * off
        longest, error = max(longest, squares), max(error, apart)
    slack = 1 + d * 2.0**-51
    return np.sqrt(longest) * slack, np.sqrt(error) * slack


@compiled(types.UniTuple(types.float64, 3)(_VECTORS, types.uint8[:, ::1]), any_order=True)
def to_bytes(values: Any, codes: Any) -> Any:
    """Fills codes with float32 (n, d) over one scale, rounded, from -127 to 127, plus 128.

    Returns the scale, a float32 number, and what `to_bfloat16` returns.
    """
    n, d = values.shape
    largest, longest, error = np.float32(0), 0.0, 0.0
    for row in range(n):
        for t in range(d):
            largest = max(largest, abs(values[row, t]))
    scale = largest / np.float32(127)
    if scale == 0:
        scale = np.float32(1)
    for row in range(n):
        squares, apart = 0.0, 0.0
        for t in range(d):
            code = min(max(np.rint(values[row, t] / scale), np.float32(-127)), np.float32(127))
            codes[row, t] = np.uint8(np.int32(code) + 128)
            value = np.float64(values[row, t])
            off = value - np.float64(code) * np.float64(scale)
            squares += value * value
            apart += off * off
        longest, error = max(longest, squares), max(error, apart)
    slack = 1 + d * 2.0**-51
    return scale, np.sqrt(longest) * slack, np.sqrt(error) * slack
