"""What samplers share: the first of each pair's candidates by some key, and numbers that are random but fixed."""

from __future__ import annotations

import numpy as np

from stages.judging import Pool, spread

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def choose(pool: Pool, negatives: int, *keys: np.ndarray) -> np.ndarray:
    """The first `negatives` rows of each pair by ascending keys (n,), the first key before the second.

    Returns rows of the pool, int64, ordered by (pair, keys); all of them where a pair has fewer. Equal in all keys: by
    their order in the pool.
    """
    rows, _ = spread(pool.starts, np.minimum(pool.counts, negatives))
    if _in_order(pool.pair, keys):
        return rows
    chosen: np.ndarray = np.lexsort((*reversed(keys), pool.pair))[rows]
    return chosen


def _in_order(pair: np.ndarray, keys: tuple[np.ndarray, ...]) -> bool:
    """Whether a pool is sorted by (pair, keys) already: by rank it often is, and looking costs a tenth of sorting."""
    settled = pair[1:] != pair[:-1]
    for key in keys:
        before, after = key[:-1], key[1:]
        if not np.all(settled | (before <= after)):
            return False
        settled |= before < after
    return True


def mixed(numbers: np.ndarray) -> np.ndarray:
    """SplitMix64's step from a state to its output: uint64 (n,) to uint64 (n,), one to one.

    Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, with the constants of Vigna's
    splitmix64: x += γ; x = (x ^ x>>30)·a; x = (x ^ x>>27)·b; x ^ x>>31, all modulo 2^64.
    """
    x = numbers + _GAMMA
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))


def random_keys(pool: Pool, seed: int) -> np.ndarray:
    """A uniform 64-bit number for each row, of (seed, query_row, positive_row, doc_row) alone: uint64 (n,).

    h ← mixed(h xor number) for each of the four, from h = 0. As `mixed` is one to one, the documents of a pair never tie.
    """
    state = mixed(np.full(len(pool.query_row), seed, dtype=np.uint64))
    for rows in (pool.query_row, pool.positive_row):
        state = mixed(state ^ rows.astype(np.uint64))
    return mixed(state[pool.pair] ^ pool.doc_row.astype(np.uint64))
