"""The first estimator: hides known positives from the judge and looks what becomes of them.

Of each query with at least two positives some are hidden: neither the qrels, nor a document with the same text, nor the
score that candidates are held against tells of them any more. At their true rank and score they are then ordinary
candidates, as a relevant document is that nobody labelled. What is hidden is a text of a document for a text of a query:
with it go all copies of the document, for all copies of the query.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from stages.documents import StoredDocuments
from stages.errors import ArtefactError
from stages.judging import Candidates, Documents, Known
from stages.leakage import Block, Trial
from stages.spec import Inputs
from stages.teacher_scores import PartScores, TeacherScores
from stages.verdicts import known_of, view

HIDDEN_POSITIVE = "hidden_positive"


@dataclass(frozen=True)
class Mined:
    """What was mined, by part, and what is known."""

    known: Known
    qrels: tuple[np.ndarray, np.ndarray, np.ndarray]  # query_row, doc_row, relevance: int32 (j,)
    found: tuple[pa.Table, ...]
    held: tuple[pa.Table, ...]
    taught: tuple[PartScores, ...] = ()  # by part; none where no teacher was asked
    documents: Documents | None = None

    @classmethod
    def read(cls, inputs: Inputs) -> Mined:
        """From candidates, positives, teacher_scores, qrels, queries and corpus. Raises ArtefactError when they do not belong together."""
        candidates, positives = inputs["candidates"], inputs["positives"]
        if len(candidates.parts) != len(positives.parts):
            raise ArtefactError(
                "candidates and positives do not belong together",
                got=f"{len(candidates.parts)} parts and {len(positives.parts)} parts",
                try_="mine again",
            )
        qrels, teachers = inputs["qrels"].read(["query_row", "doc_row", "relevance"]), TeacherScores.of(inputs)
        return cls(
            known_of(inputs),
            (qrels["query_row"].to_numpy(), qrels["doc_row"].to_numpy(), qrels["relevance"].to_numpy()),
            tuple(candidates.read(["query_row", "doc_row", "rank", "score"], part=part) for part in candidates.parts),
            tuple(positives.read(["query_row", "positive_row", "score"], part=part) for part in positives.parts),
            tuple(teachers.part(index) for index, _ in enumerate(positives.parts)),
            StoredDocuments(inputs),
        )

    def parts(self) -> Iterator[tuple[pa.Table, pa.Table, PartScores | None]]:
        """The candidates of each part, their positives, and what teachers said of both."""
        return zip(self.found, self.held, self.taught or [None] * len(self.found), strict=True)

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """query_row and positive_row of all (query, positive) pairs: int32 (p,)."""
        empty = np.zeros(0, np.int32)
        return (
            np.concatenate([empty, *(part["query_row"].to_numpy() for part in self.held)]),
            np.concatenate([empty, *(part["positive_row"].to_numpy() for part in self.held)]),
        )

    @cached_property
    def positives_found(self) -> int:
        """(query, positive) pairs whose positive is among the candidates."""
        count = 0
        for found, held in zip(self.found, self.held, strict=True):
            there = _key(found["query_row"].to_numpy(), found["doc_row"].to_numpy())
            count += int(np.isin(_key(held["query_row"].to_numpy(), held["positive_row"].to_numpy()), there).sum())
        return count

    def texts(self, query_row: np.ndarray, doc_row: np.ndarray) -> np.ndarray:
        """The text of a query with that of a document, as one int64 (n,)."""
        key: np.ndarray = self.known.query_text[query_row] * self.known.texts + self.known.doc_text[doc_row]
        return key


def hide(mined: Mined, seed: int, share: float | None) -> np.ndarray:
    """What to hide: texts of a query with those of a document, int64 ascending.

    Of a query with n ≥ 2 different texts among its positives, one, or n·share rounded down, but at least one and never all.
    Which ones is drawn from `seed` alone.
    """
    texts = np.unique(mined.texts(*mined.pairs()))
    query = texts // max(1, mined.known.texts)
    drawn = np.random.default_rng(seed).random(len(texts))
    order = np.lexsort((drawn, query))
    starts = np.flatnonzero(np.diff(query, prepend=-1))
    count = np.diff(np.append(starts, len(query)))
    wanted = np.ones(len(count), np.int64) if share is None else np.maximum(1, np.floor(count * share).astype(np.int64))
    wanted = np.minimum(wanted, count - 1)
    place = np.arange(len(query)) - np.repeat(starts, count)
    hidden: np.ndarray = np.sort(texts[order[place < np.repeat(wanted, count)]])
    return hidden


def trial(mined: Mined, comparison: str, hidden: np.ndarray, *, complete: bool) -> Trial:
    """The candidates with `hidden` hidden. With `complete`, whatever has no label is known to be not relevant."""
    query, doc, relevance = mined.qrels
    shown = ~((relevance > 0) & np.isin(mined.texts(query, doc), hidden))
    known = Known.of(mined.known.query_text, mined.known.doc_text, query[shown], doc[shown], relevance[shown])
    documents = mined.documents and mined.documents.without(~shown)
    blocks, reached = [], 0
    total = _each_once(mined, mined.pairs(), hidden)
    for found, held, taught in mined.parts():
        left = ~np.isin(mined.texts(held["query_row"].to_numpy(), held["positive_row"].to_numpy()), hidden)
        remaining = held.filter(pa.array(left))
        asked = np.isin(found["query_row"].to_numpy(), total >> 32)
        chosen = found.filter(pa.array(asked))
        seen = view(comparison, known, chosen, remaining, documents=documents, taught=taught)
        own = np.isin(_key(seen.query_row, seen.doc_row), total)
        reached += len(np.unique(_key(seen.query_row[own], seen.doc_row[own])))
        blocks.append(Block(seen, own, np.zeros(len(own), bool)))
    return Trial(HIDDEN_POSITIVE, tuple(blocks), unlabelled(mined, comparison, complete=complete), len(total) - reached)


def unlabelled(mined: Mined, comparison: str, *, complete: bool) -> tuple[Block, ...]:
    """The candidates that are not known to be relevant, judged with all that is known."""
    blocks = []
    for found, held, taught in mined.parts():
        seen = view(comparison, mined.known, found, held, documents=mined.documents, taught=taught)
        chosen = unknown(seen)
        blocks.append(Block(seen, chosen, chosen & (complete | (seen.relevance <= 0))))
    return tuple(blocks)


def unknown(seen: Candidates) -> np.ndarray:
    """Candidates that are not known to be relevant, by themselves or as a copy of a positive: bool (n,)."""
    return np.asarray(~(seen.relevance > 0) & np.isnan(seen.same_text_positive))


def _each_once(mined: Mined, pairs: tuple[np.ndarray, np.ndarray], hidden: np.ndarray) -> np.ndarray:
    """The hidden positives, one of several copies: (query_row, doc_row) as int64, ascending.

    Only of queries that keep a positive to be held against. The copy with the lowest row counts: it ranks first.
    """
    query, doc = pairs
    texts = mined.texts(query, doc)
    gone = np.isin(texts, hidden)
    usable = gone & np.isin(query, query[~gone])
    query, doc, texts = query[usable], doc[usable], texts[usable]
    order = np.lexsort((doc, texts, query))
    first = np.ones(len(order), bool)
    first[1:] = (np.diff(query[order]) != 0) | (np.diff(texts[order]) != 0)
    key: np.ndarray = np.sort(_key(query[order[first]], doc[order[first]]))
    return key


def _key(query: np.ndarray, doc: np.ndarray) -> np.ndarray:
    key: np.ndarray = (query.astype(np.int64) << 32) + doc
    return key
