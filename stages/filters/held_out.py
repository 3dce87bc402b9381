"""Drops documents that are relevant to queries of dev or test and to none of train.

Such a document is no query's positive in training. As a mined negative it is only ever pushed away, and a model that learned so
finds it less well when dev and test look for it. Evidence: value is 1 for such a document and 0 for others; there is no limit.
"""

from __future__ import annotations

import numpy as np

from stages.judging import Candidates, Labels
from stages.registry import Member


class HeldOut(Member):
    """Keeps a document that is relevant to a query of train, or to none at all."""

    def label(self, candidates: Candidates) -> Labels:
        held = candidates.corpus.held_out[candidates.doc_row]
        return Labels(held, held.astype(np.float64), np.full(len(held), np.nan))
