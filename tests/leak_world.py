"""Worlds whose relevance is known for every pair, with labels hidden at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from stages.hiding import Mined
from stages.judging import Known


@dataclass(frozen=True)
class Truth:
    """What was mined, and query_row and doc_row of the pairs that are relevant without a label."""

    mined: Mined
    unlabelled: tuple[np.ndarray, np.ndarray]


def draw(seed: int, queries: int = 80, relevant: int = 24, others: int = 24, labelled: float = 0.5) -> Truth:
    """Each query has its own documents; its relevant ones score higher, by an amount of the query's own."""
    chance = np.random.default_rng(seed)
    each = relevant + others
    ease = chance.normal(0.1, 0.1, (queries, 1))  # what makes the rows of a query hang together
    scores = chance.normal(0.5, 0.1, (queries, each))
    scores[:, :relevant] += ease
    label = np.zeros((queries, each), bool)
    label[:, :relevant] = chance.random((queries, relevant)) < labelled
    label[:, 0] = True
    documents = np.arange(queries * each, dtype=np.int32).reshape(queries, each)
    order = np.argsort(-scores, axis=1)
    query = np.repeat(np.arange(queries, dtype=np.int32), each)
    found = pa.table(
        {
            "query_row": query,
            "doc_row": np.take_along_axis(documents, order, 1).ravel(),
            "rank": np.tile(np.arange(1, each + 1, dtype=np.int32), queries),
            "score": np.take_along_axis(scores, order, 1).ravel(),
        }
    )
    owner, place = np.nonzero(label)
    owner, positive = owner.astype(np.int32), documents[owner, place]
    held = pa.table({"query_row": owner, "positive_row": positive, "score": scores[owner, place]})
    relevance = np.ones(len(owner), np.int32)
    hashes = (np.arange(queries) + 10**6, np.arange(queries * each))
    known = Known.of(*hashes, owner, positive, relevance)
    unlabelled, where = np.nonzero(~label[:, :relevant])
    return Truth(
        Mined(known, (owner, positive, relevance), (found,), (held,)),
        (unlabelled, documents[unlabelled, where]),
    )
