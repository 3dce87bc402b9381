"""A pool for a sampler's test."""

import numpy as np

from stages.judging import Pool


def pool(rows, query=0) -> Pool:
    """From, for each pair, its rows as (doc, score); pair i has the positive row 100 + i."""
    counts = np.array([len(r) for r in rows], np.int64)
    flat = [row for each in rows for row in each]
    return Pool(
        np.full(len(rows), query, np.int32),
        np.arange(100, 100 + len(rows), dtype=np.int32),
        np.ones(len(rows)),
        np.cumsum(counts) - counts,
        counts,
        np.repeat(np.arange(len(rows)), counts),
        np.array([d for d, _ in flat], np.int32),
        np.arange(1, len(flat) + 1, dtype=np.int32),
        np.array([s for _, s in flat], np.float64),
    )


def taken(given: Pool, rows) -> list[list[int]]:
    """The documents that were chosen, for each pair in order of choice."""
    chosen: list[list[int]] = [[] for _ in given.counts]
    for row in rows:
        chosen[given.pair[row]].append(int(given.doc_row[row]))
    return chosen
