"""Drops documents whose vector is nearly that of a known positive of the query.

The paraphrase and the translation of a positive, which share few of its words. The similarity is the inner product of the
two documents' vectors, a cosine where vectors are normalised; positives of all queries with the same text count. Evidence:
value is the greatest similarity, null without a known positive; limit is the threshold, which is dropped as well.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from stages.filters._near import Pairs, blocks, by_document
from stages.judging import Candidates, Documents, Labels
from stages.registry import Member
from stages.scoring import score_pairs


class NearDuplicateSemantic(Member):
    """Keeps a document whose inner product with every known positive of the query is below the threshold."""

    threshold: float = Field(
        0.95,
        allow_inf_nan=False,
        description="inner product of two documents from which on they count as duplicates; less drops more, and reads no more",
    )

    def label(self, candidates: Candidates) -> Labels:
        pairs = Pairs.of(candidates)
        return pairs.labels(_similarity(candidates.corpus, pairs), self.threshold)


def _similarity(corpus: Documents, pairs: Pairs) -> np.ndarray:
    """Inner products of the pairs: float64 (p,). Positives' vectors are held whole, candidates' in blocks."""
    similarity = np.empty(len(pairs.document))
    rows, place = np.unique(pairs.positive, return_inverse=True)
    positives = np.concatenate(list(corpus.vectors(blocks(rows)))) if len(rows) else np.empty((0, 0))
    wanted = blocks(np.unique(pairs.document))
    for block, vectors, found in zip(wanted, corpus.vectors(wanted), by_document(pairs.document, wanted), strict=True):
        of_block = found[np.argsort(place[found], kind="stable")]  # by document it would be a block for each
        i = np.searchsorted(block, pairs.document[of_block])
        similarity[of_block] = score_pairs(vectors, positives, i, place[of_block])
    return similarity
