"""Drops documents that are known to be relevant.

Relevant for the query itself, or for any query with the same text, in the qrels of any split: a test positive is no
negative for training. Evidence: value is the document's highest relevance, null without a judgement; limit is 0.
A document judged not relevant, with 0 or below, passes.
"""

from __future__ import annotations

import numpy as np

from stages.judging import Candidates, Labels
from stages.registry import Member


class KnownPositive(Member):
    """Keeps a document whose relevance is at most 0, or not judged."""

    def label(self, candidates: Candidates) -> Labels:
        relevance = candidates.relevance
        return Labels(relevance > 0, relevance, np.zeros(len(relevance)))
