"""Drops documents that are candidates of too many queries.

Hubs are near to everything in high dimensions (Radovanović, Nanopoulos, Ivanović, "Hubs in space", JMLR 11, 2010) and teach
a model little about any one query. Counted over all candidates, whatever becomes of them. Evidence: value is the share of
the queries with candidates that have this one, limit is the highest share allowed.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from stages.judging import Candidates, Labels
from stages.registry import Member


class Hub(Member):
    """Keeps a document that is a candidate of at most a share of the queries."""

    share: float = Field(
        0.1,
        gt=0,
        le=1,
        description="share of the queries, 0 to 1; less drops more. It must lie well above depth / documents, the share of an "
        "average document",
    )

    def label(self, candidates: Candidates) -> Labels:
        found, queries = candidates.corpus.occurrences
        share = found[candidates.doc_row] / max(queries, 1)
        return Labels(share > self.share, share, np.full(len(share), self.share))
