"""Brings what teachers said beside candidates and the positives they are held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.errors import ArtefactError
from stages.judging import Lookup, Taught, numbers
from stages.spec import Inputs, Source


@dataclass
class TeacherScores:
    """The scores of all teachers, part by part as the candidates are. Teachers are in the order of the configuration."""

    scores: Source
    positives: Source
    kinds: Mapping[str, str]  # the kind of each teacher
    _curves: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, inputs: Inputs) -> TeacherScores:
        """From `teacher_scores` and `positives`. Raises ArtefactError when they do not belong to the same candidates."""
        scores, positives = inputs["teacher_scores"], inputs["positives"]
        if len(scores.parts) != len(positives.parts) or "teachers" not in scores.facts:
            raise ArtefactError(
                "teacher_scores and positives do not belong together",
                where="judge",
                got=f"{len(scores.parts)} parts and {len(positives.parts)} parts",
                try_="teach again",
            )
        return cls(scores, positives, {each["title"]: each["name"] for each in scores.facts["teachers"]})

    def part(self, index: int) -> PartScores:
        """Those of one part of the candidates."""
        if not self.kinds:
            return PartScores({}, {}, self.curve)
        return PartScores({title: self._lookup(index, title) for title in self.kinds}, self.kinds, self.curve)

    def curve(self, title: str) -> np.ndarray:
        """One teacher's scores of the positives of all parts, ascending: float64 (p,). Read when first asked for."""
        if title not in self._curves:
            found = []
            for index, part in enumerate(self.positives.parts):
                held = self.positives.read(["query_row", "positive_row"], part=part)
                found.append(self._lookup(index, title)(_keys(held["query_row"], held["positive_row"])))
            every = np.concatenate(found)
            self._curves[title] = np.sort(every[~np.isnan(every)])
        return self._curves[title]

    def _lookup(self, index: int, title: str) -> Lookup:
        """One teacher's scores by (query_row, doc_row); null is NaN."""
        table = self.scores.read(part=self.scores.parts[index])
        mine = table.filter(pc.equal(table["teacher"].cast(pa.string()), title))
        keys = _keys(mine["query_row"], mine["doc_row"])
        if np.any(keys[1:] <= keys[:-1]):
            raise ArtefactError(
                "the scores of a teacher are not ordered by query_row and doc_row", where=title, try_="teach again"
            )
        return Lookup(keys, numbers(mine["score"], np.nan))


@dataclass(frozen=True)
class PartScores:
    """The scores of all teachers for one part of the candidates."""

    lookups: Mapping[str, Lookup]
    kinds: Mapping[str, str]
    curve: Callable[[str], np.ndarray]

    def beside(
        self, comparison: str, query: np.ndarray, doc: np.ndarray, positive: np.ndarray, held: pa.Table
    ) -> dict[str, Taught]:
        """What each teacher says of candidates (n,), held against `positive` (n,) or the least of the positives in `held`.

        The least positive of a teacher is the one that it gives the lowest score, and is not known as soon as it gave one
        of the query's positives none.
        """
        return {
            title: Taught(
                self.kinds[title],
                scores(_pairs(query, doc)),
                scores(_pairs(query, positive)) if comparison == "per_positive" else _least(scores, query, held),
                partial(self.curve, title),
            )
            for title, scores in self.lookups.items()
        }


def _least(scores: Lookup, query: np.ndarray, held: pa.Table) -> np.ndarray:
    """The lowest score of each query's positives, for queries (n,): NaN without positives, or when one has no score."""
    owner = held["query_row"].to_numpy()
    if not len(owner):
        return np.full(len(query), np.nan)
    value = scores(_keys(held["query_row"], held["positive_row"]))
    starts = np.flatnonzero(np.concatenate([[True], owner[1:] != owner[:-1]]))
    least = np.minimum.reduceat(value, starts)  # which is NaN where one of them is
    place = np.minimum(np.searchsorted(owner[starts], query), len(starts) - 1)
    return np.where(owner[starts][place] == query, least[place], np.nan)


def _keys(query: pa.ChunkedArray, doc: pa.ChunkedArray) -> np.ndarray:
    return _pairs(query.to_numpy(), doc.to_numpy())


def _pairs(query: np.ndarray, doc: np.ndarray) -> np.ndarray:
    """Pairs of rows as int64 in the same order; a document -1 gives a pair that is nowhere."""
    keys: np.ndarray = (query.astype(np.int64) << 32) + doc
    return np.where(doc < 0, -1, keys)
