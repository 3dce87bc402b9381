"""What a filter and a sampler see: candidates beside what is known of them, and pools of kept ones.

Known positives are told by the text of the query, not by its row: what is relevant for a query is relevant for every
query with the same text. A positive's duplicates, the documents with its text, count as relevant too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.errors import ArtefactError, ConfigError

KEPT = "kept"
"""The verdict of a candidate that no filter drops."""


def spread(starts: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Runs of rows, one after the other: run i is rows starts[i] to starts[i] + counts[i].

    starts, counts: int64 (r,). Returns the rows and the run of each, int64 (sum of counts,).
    """
    run = np.repeat(np.arange(len(counts)), counts)
    before = np.cumsum(counts) - counts
    return np.arange(len(run)) + (starts - before)[run], run


def ascending(keys: np.ndarray) -> bool:
    """Whether keys (n,) never fall."""
    return bool(np.all(keys[1:] >= keys[:-1]))


def distinct(keys: np.ndarray) -> np.ndarray:
    """The different ones among ascending keys (n,)."""
    first = np.ones(len(keys), dtype=bool)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    return keys[first]


def are_kept(verdicts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which of the verdicts, a dictionary column, are `KEPT`: codes are compared, not texts."""
    chunks = verdicts.chunks
    places = [chunk.dictionary.index(KEPT).as_py() for chunk in chunks]  # -1 where it is none of them
    equal = [pc.equal(c.indices, pa.scalar(p, c.type.index_type)) for c, p in zip(chunks, places, strict=True)]
    return pa.chunked_array(equal, pa.bool_())


def numbers(column: pa.ChunkedArray, missing: float) -> np.ndarray:
    """A column as an array of its own type, with `missing` for null."""
    values: np.ndarray = column.fill_null(pa.scalar(missing, column.type)).to_numpy()
    return values


@dataclass(frozen=True)
class Lookup:
    """A map from int64 keys, sorted and unique, to float64 values."""

    keys: np.ndarray
    values: np.ndarray

    @classmethod
    def highest(cls, keys: np.ndarray, values: np.ndarray) -> Lookup:
        """Of keys (n,) that may repeat, with the highest of a key's values (n,)."""
        order = np.lexsort((values, keys))
        keys, values = keys[order], values[order]
        last = np.ones(len(keys), dtype=bool)
        last[:-1] = keys[1:] != keys[:-1]
        return cls(keys[last], values[last].astype(np.float64))

    def __call__(self, keys: np.ndarray) -> np.ndarray:
        """The values of keys (n,): float64 (n,), NaN for a key that is not there."""
        found = np.full(len(keys), np.nan)
        if len(self.keys):
            some = np.flatnonzero(self._present[self._slots(keys)])
            place = np.minimum(np.searchsorted(self.keys, keys[some]), len(self.keys) - 1)
            same = self.keys[place] == keys[some]
            found[some[same]] = self.values[place[same]]
        return found

    @cached_property
    def _present(self) -> np.ndarray:
        """Whether any key has a slot: bool. Most keys that are asked for are not there, and this tells it of nearly all of them."""
        present = np.zeros(1 << self._bits, dtype=bool)
        present[self._slots(self.keys)] = True
        return present

    @property
    def _bits(self) -> int:
        return min(max((16 * len(self.keys)).bit_length(), 10), 24)

    def _slots(self, keys: np.ndarray) -> np.ndarray:
        """Multiplicative hashing (Knuth, The Art of Computer Programming 3, 6.4)."""
        slots: np.ndarray = keys.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        slots >>= np.uint64(64 - self._bits)
        return slots.view(np.int64)


@dataclass(frozen=True)
class Known:
    """What the qrels of all splits and the texts say, whatever was found.

    Texts are numbered from 0, queries and documents together: the same number, the same text_hash.
    """

    query_text: np.ndarray  # int64 (Q,)
    doc_text: np.ndarray  # int64 (D,)
    texts: int
    judgements: Lookup  # (text of the query, doc_row) → highest relevance
    positives: Lookup  # (text of the query, text of a relevant document) → highest row of such a document

    @classmethod
    def of(
        cls,
        query_hash: np.ndarray,
        doc_hash: np.ndarray,
        query_row: np.ndarray,
        doc_row: np.ndarray,
        relevance: np.ndarray,
    ) -> Known:
        """From text hashes int64 (Q,), (D,) and the three columns of the qrels, int32 (j,)."""
        numbered = pa.array(np.concatenate([query_hash, doc_hash])).dictionary_encode()
        text = numbered.indices.to_numpy().astype(np.int64)
        query_text, doc_text, texts = text[: len(query_hash)], text[len(query_hash) :], len(numbered.dictionary)
        judged = query_text[query_row] * len(doc_hash) + doc_row
        relevant = relevance > 0
        same = query_text[query_row[relevant]] * texts + doc_text[doc_row[relevant]]
        return cls(
            query_text,
            doc_text,
            texts,
            Lookup.highest(judged, relevance),
            Lookup.highest(same, doc_row[relevant]),
        )

    def positives_of(self, query_text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The known positives of queries with the texts (m,), one document for each text among them, the highest row.

        Returns doc_row int32 (sum over m,), and for each its place among the m, int64, ascending.
        """
        first = np.searchsorted(self.positives.keys, query_text * self.texts)
        end = np.searchsorted(self.positives.keys, (query_text + 1) * self.texts)
        place, run = spread(first, end - first)
        return self.positives.values[place].astype(np.int32), run


class Documents(Protocol):
    """More of the documents, for rules that ask for it: read then, and not before.

    Blocks of rows are read in one pass, and all rows together must be ascending and without repetition.
    """

    cache: dict[Any, Any]
    """What a rule keeps from one part to the next, under a key of its own."""

    @property
    def occurrences(self) -> tuple[np.ndarray, int]:
        """How many queries have each document among their candidates, int64 (D,), and how many queries have any."""
        ...

    @property
    def groups(self) -> np.ndarray:
        """A number from 0 for each document's group, -1 where it has none: int64 (D,)."""
        ...

    @property
    def held_out(self) -> np.ndarray:
        """Documents that are relevant to queries of dev or test and to none of train: bool (D,)."""
        ...

    def without(self, hidden: np.ndarray) -> Documents:
        """The same documents, where some judgements, bool (j,) in the order of qrels, are not known."""
        ...

    def texts(self, blocks: Sequence[np.ndarray]) -> Iterator[pa.Array]:
        """What is encoded of each block's documents, title and text: large_string (n,)."""
        ...

    def vectors(self, blocks: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """The vectors of each block's documents: float32 (n, d)."""
        ...


@dataclass(frozen=True)
class Taught:
    """What one teacher says of n candidates and of the positive that each is held against."""

    kind: str  # the name of its file in teachers/
    score: np.ndarray  # float64 (n,), NaN where it gave none
    positive: np.ndarray  # float64 (n,), its own score of the positive, NaN where that is not known
    curve: Callable[[], np.ndarray]  # its scores of all positives, ascending: float64 (p,)


@dataclass(frozen=True)
class Candidates:
    """n candidates, each held against one positive: all a filter may look at."""

    known: Known
    query_row: np.ndarray  # int32 (n,)
    doc_row: np.ndarray  # int32 (n,)
    rank: np.ndarray  # int32 (n,), from 1, positives included
    score: np.ndarray  # float64 (n,)
    positive_row: np.ndarray  # int32 (n,), -1 where there is none
    positive_score: np.ndarray  # float64 (n,), NaN where it is not known
    documents: Documents | None = None
    teachers: Mapping[str, Taught] = field(default_factory=dict)  # by title, in the order of the configuration

    @property
    def corpus(self) -> Documents:
        """Texts, vectors, groups and occurrences. Raises ArtefactError where only the candidates are at hand."""
        if self.documents is None:
            raise ArtefactError(
                "a filter needs texts, vectors or counts of the documents",
                where="judge.filters",
                got="candidates and qrels alone",
                try_="run the judge stage",
            )
        return self.documents

    def teacher(self, title: str | None, kinds: tuple[str, ...] = ()) -> Taught:
        """What the teacher of this title says; without one the first teacher, of one of the kinds where any are given.

        Raises ConfigError when there is none.
        """
        if title is None:
            title = next((name for name, each in self.teachers.items() if not kinds or each.kind in kinds), None)
        if title is None or title not in self.teachers:
            raise ConfigError(
                f"no teacher {title!r}"
                if title
                else f"no teacher of the kind {' or '.join(kinds) or 'that is needed'}",
                where="judge.filters",
                got=f"teachers: {', '.join(self.teachers) or 'none'}",
                try_="list it in teach.teachers, or remove the filter",
            )
        return self.teachers[title]

    @cached_property
    def relevance(self) -> np.ndarray:
        """The document's highest relevance over all queries with this query's text: float64 (n,), NaN without a judgement."""
        known = self.known
        return known.judgements(known.query_text[self.query_row] * len(known.doc_text) + self.doc_row)

    @cached_property
    def same_text_positive(self) -> np.ndarray:
        """The highest row among the query's known positives that have the document's text: float64 (n,), NaN without one."""
        known = self.known
        return known.positives(known.query_text[self.query_row] * known.texts + known.doc_text[self.doc_row])

    @cached_property
    def repeats_query(self) -> np.ndarray:
        """Whether the document has the query's own text: bool (n,)."""
        same: np.ndarray = self.known.query_text[self.query_row] == self.known.doc_text[self.doc_row]
        return same


@dataclass(frozen=True)
class Labels:
    """A filter's answer: whether it drops each candidate, the number that it looked at, and the limit it was held to."""

    drop: np.ndarray  # bool (n,)
    value: np.ndarray  # float64 (n,), NaN where there is none
    limit: np.ndarray  # float64 (n,), NaN where there is none


@dataclass(frozen=True)
class Pool:
    """Kept candidates of p (query, positive) pairs: pair i has rows starts[i] to starts[i] + counts[i]."""

    query_row: np.ndarray  # int32 (p,)
    positive_row: np.ndarray  # int32 (p,)
    positive_score: np.ndarray  # float64 (p,), NaN where it is not known
    starts: np.ndarray  # int64 (p,)
    counts: np.ndarray  # int64 (p,)
    pair: np.ndarray  # int64 (n,), ascending
    doc_row: np.ndarray  # int32 (n,)
    rank: np.ndarray  # int32 (n,)
    score: np.ndarray  # float64 (n,)
