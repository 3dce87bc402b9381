"""What samplers share: the first of each pair's candidates by some key, and numbers that are random but fixed."""

from __future__ import annotations

import numpy as np

from stages.hashing import mixed
from stages.judging import Pool, spread


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


def place(pool: Pool, *keys: np.ndarray) -> np.ndarray:
    """Each row's place from 0 within its pair by ascending keys: int64 (n,)."""
    order = choose(pool, len(pool.pair), *keys)
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order)) - pool.starts[pool.pair[order]]
    return places


def draw(pool: Pool, negatives: int, log_weight: np.ndarray, seed: int) -> np.ndarray:
    """Draws without replacement, each next row with a probability in proportion to its weight among those that are left.

    log_weight: float64 (n,), any constant may be added for a pair. A row with −inf or NaN is never drawn. Returns rows of
    the pool, int64, ordered by (pair, order of choice).

    The Gumbel-top-k trick (Vieira 2014; Kool, van Hoof, Welling, arXiv 1903.06059): the order of log w + G with
    independent standard Gumbel G = −ln(−ln u) is that of such draws. u comes from `random_keys`.
    """
    wanted = log_weight > -np.inf
    hashed = random_keys(pool, seed)
    uniform = ((hashed >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    key = np.where(wanted, np.log(-np.log(uniform)) - np.where(wanted, log_weight, 0.0), np.inf)
    chosen = choose(pool, negatives, ~wanted, key, hashed)
    drawn: np.ndarray = chosen[wanted[chosen]]
    return drawn


def random_keys(pool: Pool, seed: int) -> np.ndarray:
    """A uniform 64-bit number for each row, of (seed, query_row, positive_row, doc_row) alone: uint64 (n,).

    h ← mixed(h xor number) for each of the four, from h = 0. As `mixed` is one to one, the documents of a pair never tie.
    """
    state = mixed(np.full(len(pool.query_row), seed, dtype=np.uint64))
    for rows in (pool.query_row, pool.positive_row):
        state = mixed(state ^ rows.astype(np.uint64))
    return mixed(state[pool.pair] ^ pool.doc_row.astype(np.uint64))
