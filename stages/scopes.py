"""Which documents a query is searched among: where there are texts and pictures, those of the other kind.

A caption looks for pictures and a picture for captions. Where all documents are of one kind every query is searched among all of
them: pictures among pictures, passages among passages. Pictures stand in front of texts in the corpus, so each kind is a range
of rows, and a search of a range is exact wherever the index is (see `stages.search.Corpus.within`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc

from stages.errors import InputError
from stages.search import Corpus, Hits
from stages.spec import Inputs, Source

Search = Callable[[Corpus, np.ndarray], Hits]
"""Searches a corpus, or a range of one, for queries float32 (m, d)."""


class Group(NamedTuple):
    """Queries that are searched among the same documents."""

    places: np.ndarray  # int64 (g,), among the queries that were asked for
    start: int
    stop: int


@dataclass(frozen=True)
class Scopes:
    """Of `documents` documents the first `pictures` are pictures."""

    documents: int
    pictures: int
    shown: np.ndarray | None
    """Whether each query is a picture, bool by row; None where it does not matter."""

    @classmethod
    def of(cls, inputs: Inputs) -> Scopes:
        """Reads the kinds of corpus and queries. Raises InputError when pictures stand behind texts."""
        corpus = inputs["corpus"]
        found = _shown(corpus)
        pictures = int(found.sum())
        if not found[:pictures].all():
            first = int(np.flatnonzero(~found)[0])
            raise InputError(
                "a corpus of texts and pictures has its pictures first", where=f"corpus, row {first}",
                got=f"a text before {pictures - first} of the pictures", try_="a data set that yields all pictures, then all texts",
            )  # fmt: skip
        mixed = 0 < pictures < corpus.rows
        return cls(corpus.rows, pictures, _shown(inputs["queries"]) if mixed else None)

    def range_of(self, picture: bool) -> tuple[int, int]:
        """The rows of the documents that a text or a picture is searched among: from, and up to."""
        if self.shown is None:
            return 0, self.documents
        return (self.pictures, self.documents) if picture else (0, self.pictures)

    @property
    def widest(self) -> int:
        """How many documents a query is searched among at most."""
        return max(stop - start for start, stop in map(self.range_of, (False, True)))

    def groups(self, rows: np.ndarray) -> Iterator[Group]:
        """The queries `rows` (m,) by what they are searched among."""
        if self.shown is None:
            yield Group(np.arange(len(rows)), 0, self.documents)
            return
        for picture in (False, True):
            places = np.flatnonzero(self.shown[rows] == picture)
            if len(places):
                yield Group(places, *self.range_of(picture))

    def search(self, corpus: Corpus, queries: np.ndarray, rows: np.ndarray, depth: int, search: Search) -> Hits:
        """What `search` finds for the queries `rows` (m,), float32 (m, d), among the documents of each: `depth` or fewer."""
        if self.shown is None:
            return search(corpus, queries)
        found = np.full((len(rows), min(depth, self.widest)), -1, dtype=np.int32)
        scores = np.full(found.shape, -np.inf)
        counts = {"deepened": 0, "missing": 0}
        for places, start, stop in self.groups(rows):
            hits = search(corpus.within(start, stop), queries[places])
            columns = slice(hits.rows.shape[1])
            found[places, columns] = np.where(hits.rows < 0, -1, hits.rows + np.int32(start))
            scores[places, columns] = hits.scores
            counts = {name: count + hits.counts[name] for name, count in counts.items()}
        return Hits(found, scores, counts)


def _shown(source: Source) -> np.ndarray:
    """Whether each row is a picture: bool (n,)."""
    column = source.read(["picture"])["picture"]
    return np.asarray(pc.is_valid(column).to_numpy(zero_copy_only=False))
