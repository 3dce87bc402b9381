"""Drops documents that are judged below 0, as TREC's qrels judge spam.

What is neither relevant nor worth learning from: as a hard negative it teaches to tell spam apart. Judged for the query, or for
any query with the same text; of several judgements the highest counts. Evidence: value is that relevance, null without a
judgement; limit is 0.
"""

from __future__ import annotations

import numpy as np

from stages.judging import Candidates, Labels
from stages.registry import Member


class NegativeRelevance(Member):
    """Keeps a document whose relevance is at least 0, or not judged."""

    def label(self, candidates: Candidates) -> Labels:
        relevance = candidates.relevance
        return Labels(relevance < 0, relevance, np.zeros(len(relevance)))
