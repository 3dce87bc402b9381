"""Candidates for a filter's test, of one query whose documents have rows 0, 1, 2, …"""

import numpy as np

from stages.judging import Candidates, Known


def view(score, positive=np.nan, *, query_hash=(-1,), doc_hash=None, qrels=(), documents=None) -> Candidates:
    """`positive` is one score or one for each candidate; `qrels` are (query_row, doc_row, relevance)."""
    n = len(score)
    judged = np.array(qrels, dtype=np.int32).reshape(-1, 3)
    known = Known.of(np.array(query_hash), np.array(doc_hash or range(n)), judged[:, 0], judged[:, 1], judged[:, 2])
    return Candidates(
        known,
        np.zeros(n, np.int32),
        np.arange(n, dtype=np.int32),
        np.arange(1, n + 1, dtype=np.int32),
        np.array(score, np.float64),
        np.full(n, 0, np.int32),
        np.broadcast_to(np.array(positive, np.float64), n),
        documents,
    )
