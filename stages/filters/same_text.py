"""Drops documents that repeat the query or one of its known positives, word for word after normalisation.

The positives are those of all queries with the same text, so that a positive's whole group of duplicates goes with it.
Evidence: value is the row of the repeated positive (the highest, where several share the text), -1 when the document
repeats the query, null when it repeats neither; there is no limit.
"""

from __future__ import annotations

import numpy as np

from stages.judging import Candidates, Labels
from stages.registry import Member


class SameText(Member):
    """Keeps a document whose text is neither the query's nor that of a known positive."""

    def label(self, candidates: Candidates) -> Labels:
        value = np.where(candidates.repeats_query, -1.0, candidates.same_text_positive)
        return Labels(~np.isnan(value), value, np.full(len(value), np.nan))
