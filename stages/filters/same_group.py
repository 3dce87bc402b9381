"""Drops documents of a group that one of the query's known positives is of.

Where groups say what belongs together, as the concept of a picture does, its variants are the likeliest false negatives.
The positives are those of all queries with the same text. Evidence: value is the row of the positive with the document's
group, the highest of several, null without one; there is no limit.
"""

from __future__ import annotations

import numpy as np

from stages.judging import Candidates, Labels, Lookup
from stages.registry import Member


class SameGroup(Member):
    """Keeps a document of no group, or of another group than every known positive."""

    def label(self, candidates: Candidates) -> Labels:
        known, groups = candidates.known, candidates.corpus.groups
        size = len(known.doc_text)  # there are no more groups than documents
        query, row = np.divmod(known.judgements.keys[known.judgements.values > 0], size)
        grouped = groups[row] >= 0
        positives = Lookup.highest((query * size + groups[row])[grouped], row[grouped])
        group = groups[candidates.doc_row]
        value = positives(known.query_text[candidates.query_row] * size + group)
        value[group < 0] = np.nan
        return Labels(~np.isnan(value), value, np.full(len(value), np.nan))
