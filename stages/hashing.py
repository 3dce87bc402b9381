"""Numbers that look random and are a function of their input alone: the same on every machine, in every order."""

from __future__ import annotations

import numpy as np

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def mixed(numbers: np.ndarray) -> np.ndarray:
    """SplitMix64's step from a state to its output: uint64 (n,) to uint64 (n,), one to one.

    Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, with the constants of Vigna's
    splitmix64: x += γ; x = (x ^ x>>30)·a; x = (x ^ x>>27)·b; x ^ x>>31, all modulo 2^64.
    """
    x = numbers + _GAMMA
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))
