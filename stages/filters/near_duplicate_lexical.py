"""Drops documents that share nearly all their wording with a known positive of the query.

The reprint, the crop and the page with another footer: not the same text, but no negative. The similarity is the Jaccard
similarity |A ∩ B| / |A ∪ B| of the two documents' sets of shingles (Broder, "On the resemblance and containment of
documents", 1997), title and text, computed exactly rather than estimated by MinHash. Positives of all queries with the same
text count. Evidence: value is the greatest similarity where it reaches the threshold, else null; limit is the threshold.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from stages.filters._near import Pairs
from stages.filters._shingles import Bitmaps, Shingles, jaccard
from stages.judging import Candidates, Labels
from stages.registry import Member


class NearDuplicateLexical(Member):
    """Keeps a document whose Jaccard similarity with every known positive of the query is below the threshold."""

    threshold: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Jaccard similarity from which on two documents count as duplicates; less drops more",
    )
    unit: Literal["word", "character"] = Field(
        "word",
        description="what a shingle is made of; characters suit languages without blanks, and take short texts that differ in "
        "one word for duplicates",
    )
    size: int = Field(
        3, ge=1, description="words or characters a shingle; more tells apart texts that share only phrases"
    )

    def label(self, candidates: Candidates) -> Labels:
        corpus, pairs = candidates.corpus, Pairs.of(candidates)
        shingles = Shingles(self.unit, self.size)
        if shingles not in corpus.cache:
            corpus.cache[shingles] = Bitmaps(len(candidates.known.doc_text), shingles)
        bitmaps: Bitmaps = corpus.cache[shingles]
        bitmaps.fill(corpus, np.unique(np.concatenate([pairs.document, pairs.positive])))
        near = np.flatnonzero(bitmaps.may_reach(pairs.document, pairs.positive, self.threshold))
        similarity = np.full(len(pairs.document), -np.inf)
        found = jaccard(corpus, shingles, pairs.document[near], pairs.positive[near])
        similarity[near] = np.where(found >= self.threshold, found, -np.inf)
        return pairs.labels(similarity, self.threshold)
