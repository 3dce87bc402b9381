"""A given TREC run: what any other system found, a line a hit.

    query-id Q0 doc-id rank score tag        or        query-id doc-id score

Hits are ordered by (-score, rank, row); without ranks by (-score, row). White space separates fields; in the runs that the
evaluate stage writes it is percent-encoded within ids, which is understood here too. A file that ends in .gz is unpacked.
"""

from __future__ import annotations

import gzip
import math
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field

from stages import weights
from stages.errors import InputError
from stages.judging import spread
from stages.registry import Member
from stages.retrieval import Collection
from stages.trec import escaped

_NAMED = 3  # unknown ids that a message names
_LINE = 1 << 20  # characters; a longer line is another kind of file


class Run(Member):
    """Reads the run when it is opened; hits of queries that are not asked are left out."""

    path: str = Field(description="the run; a relative path counts from the configuration file")
    label: str | None = Field(
        None, pattern=r"^[\w.-]+$", description="name among the results, where two have the same kind; none is `run`"
    )
    allowed_unknown: int = Field(
        0,
        ge=0,
        description="lines whose query or document may be missing from the data; they are counted, and more stop the stage",
    )

    def fingerprint(self) -> str:
        """sha256 of the file. Raises InputError when it is not there."""
        if not Path(self.path).is_file():
            raise InputError("the TREC run is not there", where=self.path, try_="the path of a run")
        return weights.digest(Path(self.path))

    def open(self, collection: Collection) -> RunIndex:
        """Reads the run. Raises InputError for a line that is none, a hit that comes twice, or too many unknown ids."""
        queries, documents = _by_id(collection.query_ids), _by_id(collection.doc_ids)
        found = _Columns()
        unknown: list[str] = []
        missed = 0
        for number, line in _lines(Path(self.path)):
            hit = _parse(line, f"{self.path}, line {number}")
            query, document = queries.get(hit.query), documents.get(hit.document)
            if query is None or document is None:
                missed += 1
                if len(unknown) < _NAMED:
                    unknown.append(
                        f"line {number}: " + (f"query {hit.query}" if query is None else f"document {hit.document}")
                    )
            else:
                found.add(query, document, hit)
        if missed > self.allowed_unknown:
            raise InputError(
                "the TREC run names queries or documents that are not in the data",
                where=self.path,
                got=f"{missed} of {missed + len(found.query)} lines; {'; '.join(unknown)}",
                try_=f"the run of this data set, or allowed_unknown = {missed}",
            )
        return RunIndex.of(found, collection, missed, self.path)


class RunIndex:
    """The hits of a run, by query and in its order."""

    def __init__(self, starts: np.ndarray, rows: np.ndarray, scores: np.ndarray, counts: dict[str, int]) -> None:
        self._starts, self._rows, self._scores, self.counts = starts, rows, scores, counts

    @classmethod
    def of(cls, found: _Columns, collection: Collection, unknown: int, path: str) -> RunIndex:
        """From all lines of the file. Raises InputError for a pair that comes twice."""
        query, row, rank = (np.array(c, dtype=np.int64) for c in (found.query, found.document, found.rank))
        score = np.array(found.score, dtype=np.float64)
        keys, counts = np.unique(query * collection.documents + row, return_counts=True)
        if len(keys) and counts.max() > 1:
            twice = divmod(int(keys[counts > 1][0]), collection.documents)
            ids = collection.query_ids[twice[0]].as_py(), collection.doc_ids[twice[1]].as_py()
            raise InputError("a TREC run names a document twice for one query", where=path, got=" and ".join(ids))
        asked = np.isin(query, collection.rows)
        order = np.lexsort((row, rank, -score, query))
        order = order[asked[order]]
        starts = np.searchsorted(query[order], np.append(collection.rows, np.iinfo(np.int64).max))
        counted = {"unknown": unknown, "of_other_queries": int(np.count_nonzero(~asked))}
        return cls(starts, row[order].astype(np.int32), score[order], counted)

    def search(self, which: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `stages.retrieval.Opened.search`, with the scores of the file."""
        rows, scores = np.full((len(which), k), -1, dtype=np.int32), np.full((len(which), k), -np.inf)
        counts = np.minimum(self._starts[which + 1] - self._starts[which], k)
        place, query = spread(self._starts[which], counts)
        rank = place - self._starts[which][query]
        rows[query, rank], scores[query, rank] = self._rows[place], self._scores[place]
        return rows, scores


class _Hit(NamedTuple):
    query: str
    document: str
    rank: int
    score: float


class _Columns:
    """Hits as growing columns."""

    def __init__(self) -> None:
        self.query, self.document, self.rank, self.score = array("i"), array("i"), array("q"), array("d")

    def add(self, query: int, document: int, hit: _Hit) -> None:
        self.query.append(query)
        self.document.append(document)
        self.rank.append(hit.rank)
        self.score.append(hit.score)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file that are not blank, numbered from 1. Raises InputError when it cannot be read."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for number, line in enumerate(iter(lambda: file.readline(_LINE), ""), 1):
                if len(line) == _LINE:
                    raise InputError(f"a line longer than {_LINE:,} characters", where=f"{path}, line {number}")
                if line.strip():
                    yield number, line
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError("the TREC run cannot be read", where=str(path), got=error) from None


def _parse(line: str, where: str) -> _Hit:
    fields = line.split()
    try:
        if len(fields) == 6:
            hit = _Hit(fields[0], fields[2], int(fields[3]), float(fields[4]))
            if not -(2**63) <= hit.rank < 2**63:
                raise ValueError
        elif len(fields) == 3:
            hit = _Hit(fields[0], fields[1], 0, float(fields[2]))
        else:
            raise ValueError
    except ValueError:
        raise InputError(
            "not a line of a TREC run",
            where=where,
            got=line.strip()[:120],
            try_="query-id Q0 doc-id rank score tag, or query-id doc-id score",
        ) from None
    if not math.isfinite(hit.score):
        raise InputError("a score of the TREC run is not a finite number", where=where, got=line.strip()[:120])
    return hit


def _by_id(ids: pa.ChunkedArray) -> dict[str, int]:
    """The row of each id, as it was given or percent-encoded as a run holds it; an id as given comes first."""
    encoded, changed = escaped(ids.combine_chunks())
    rows = {value: row for row, value in enumerate(encoded.to_pylist())} if changed else {}
    return rows | {value: row for row, value in enumerate(ids.to_pylist())}
