"""Drops repetitions among the candidates of one query: of several with the same text only the best-ranked passes.

Without it, one text under five ids can be all five negatives of a query. What other rules say of the best-ranked one plays
no part. Evidence: value is the row of the best-ranked document with this text, null for that document itself; no limit.
"""

from __future__ import annotations

import numpy as np

from stages.judging import Candidates, Labels
from stages.registry import Member


class DuplicateCandidate(Member):
    """Keeps a document that has no better-ranked candidate of its query with the same text."""

    def label(self, candidates: Candidates) -> Labels:
        text = candidates.known.doc_text[candidates.doc_row]
        order = np.lexsort((candidates.rank, text, candidates.positive_row, candidates.query_row))
        same = np.ones(len(order), dtype=bool)
        same[:1] = False
        for column in (candidates.query_row, candidates.positive_row, text):
            same[1:] &= column[order[1:]] == column[order[:-1]]
        first = np.maximum.accumulate(
            np.where(same, 0, np.arange(len(order)))
        )  # the place of each row's best-ranked one
        value = np.empty(len(order))
        value[order] = np.where(same, candidates.doc_row[order[first]], np.nan)
        return Labels(~np.isnan(value), value, np.full(len(value), np.nan))
