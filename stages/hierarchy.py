"""The second estimator, a proxy: relatives of a positive stand in for false negatives.

Where the corpus is a hierarchy (`group` holds the doc_id of the parent), a document above or below a positive, or with its
text, is likely to be relevant as well: for a code of a disease, the broader and the narrower codes. How often the filters
keep such relatives says how they would treat relevant documents that look like a positive. It is no leak rate of false
negatives: not every relative is relevant, and not every false negative is a relative.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow.compute as pc

from stages.hiding import Mined
from stages.judging import Candidates
from stages.leakage import Block, Trial
from stages.spec import Source
from stages.verdicts import view

HIERARCHY = "hierarchy"

LEVELS = 64
"""How far up relatives are followed; a chain of parents that is longer, or a ring, is cut here."""


def parents(corpus: Source) -> np.ndarray:
    """The row of each document's parent: int64 (D,), -1 where `group` is not the id of another document."""
    table = corpus.read(["doc_id", "group"])
    ids = table["doc_id"].combine_chunks()
    found = pc.index_in(table["group"], value_set=ids, skip_nulls=True).fill_null(-1)
    parent: np.ndarray = found.to_numpy().astype(np.int64)
    return np.where(parent == np.arange(len(parent)), -1, parent)


def trial(mined: Mined, comparison: str, parent: np.ndarray, *, siblings: bool) -> Trial:
    """The candidates, with relatives of positives as the relevant ones and the others as not relevant.

    Judged documents are neither: what is known to be relevant leaves no doubt, and what is judged not relevant is no proxy.
    """
    kin = _Kin(mined, parent, siblings=siblings)
    blocks, others = [], []
    for found, held, taught in mined.parts():
        seen = view(comparison, mined.known, found, held, documents=mined.documents, taught=taught)
        related = np.isnan(seen.relevance) & kin.related(seen)
        plain = ~related & ~(seen.relevance > 0) & np.isnan(seen.same_text_positive)
        blocks.append(Block(seen, related, np.zeros(len(related), bool)))
        others.append(Block(seen, plain, plain))
    return Trial(HIERARCHY, tuple(blocks), tuple(others))


def related(parent: np.ndarray, positives: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Which pairs of query and document hold a document above or below a positive of the query: bool (n,).

    parent: int64 (D,) as of `parents`; positives int64 (p, 2) and pairs int64 (n, 2), rows of query and document.
    """
    size = len(parent)
    keys = np.unique(positives[:, 0] * size + positives[:, 1])
    above = [positives[who, 0] * size + where for who, where in _climb(parent, positives[:, 1])]
    found = np.isin(pairs[:, 0] * size + pairs[:, 1], np.concatenate([np.zeros(0, np.int64), *above]))
    for who, where in _climb(parent, pairs[:, 1]):
        found[who] |= np.isin(pairs[who, 0] * size + where, keys)
    return np.asarray(found)


class _Kin:
    """The relatives of each query's positives."""

    def __init__(self, mined: Mined, parent: np.ndarray, *, siblings: bool) -> None:
        self._parent, self._documents = parent, len(parent)
        query, doc, relevance = mined.qrels
        text, doc = mined.known.query_text[query[relevance > 0]], doc[relevance > 0].astype(np.int64)
        self._positives = np.unique(self._key(text, doc))
        above = [self._key(text[who], where) for who, where in _climb(parent, doc)]
        self._above = np.unique(np.concatenate([np.zeros(0, np.int64), *above]))
        up = parent[doc]
        self._parents = np.unique(self._key(text[up >= 0], up[up >= 0])) if siblings else np.zeros(0, np.int64)

    def related(self, seen: Candidates) -> np.ndarray:
        """Candidates above or below a positive, beside one where siblings count, or with the text of one: bool (n,)."""
        text, doc = seen.known.query_text[seen.query_row], seen.doc_row.astype(np.int64)
        related = np.isin(self._key(text, doc), self._above) | ~np.isnan(seen.same_text_positive)
        for who, where in _climb(self._parent, doc):
            related[who] |= np.isin(self._key(text[who], where), self._positives)
        up = self._parent[doc]
        return np.asarray(related | ((up >= 0) & np.isin(self._key(text, up), self._parents)))

    def _key(self, text: np.ndarray, doc: np.ndarray) -> np.ndarray:
        key: np.ndarray = text * self._documents + doc
        return key


def _climb(parent: np.ndarray, doc: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Level by level upwards: the places in `doc` (n,) that still have an ancestor, and its row."""
    who, where = np.arange(len(doc)), doc
    for _ in range(LEVELS):
        up = parent[where]
        who, where = who[up >= 0], up[up >= 0]
        if not len(who):
            return
        yield who, where
