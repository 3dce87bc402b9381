"""A given TREC run: what any other system found, a line a hit.

    query-id Q0 doc-id rank score tag        or        query-id doc-id score        or        query-id doc-id

Hits are ordered by (-score, rank, row); without ranks by (-score, row). White space separates fields; in the runs that the
evaluate stage writes it is percent-encoded within ids, which is understood here too. A file that ends in .gz is unpacked.

MS MARCO's top1000 (query id, passage id, query and passage with tabs between them) is read as well, and so are lists, as JSON lines
or Parquet: MTEB's top_ranked with `query-id` and `corpus-ids`, and `query_id`, `document_ids` and `scores`. Where a file has no scores
the hits of a query are in its order, and the score of the r-th is 1/r.
"""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
import pyarrow as pa
from pydantic import Field

from stages import weights
from stages.errors import InputError
from stages.judging import spread
from stages.registry import Member
from stages.retrieval import Collection
from stages.retrievers._hits import Hit, hits
from stages.trec import escaped

_NAMED = 3  # unknown ids that a message names


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
        for place, hit in hits(Path(self.path)):
            query, document = queries.get(hit.query), documents.get(hit.document)
            if query is None or document is None:
                missed += 1
                if len(unknown) < _NAMED:
                    unknown.append(
                        f"{place.rpartition(', ')[2]}: "
                        + (f"query {hit.query}" if query is None else f"document {hit.document}")
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


class _Columns:
    """Hits as growing columns."""

    def __init__(self) -> None:
        self.query, self.document, self.rank, self.score = array("i"), array("i"), array("q"), array("d")

    def add(self, query: int, document: int, hit: Hit) -> None:
        self.query.append(query)
        self.document.append(document)
        self.rank.append(hit.rank)
        self.score.append(hit.score)


def _by_id(ids: pa.ChunkedArray) -> dict[str, int]:
    """The row of each id, as it was given or percent-encoded as a run holds it; an id as given comes first."""
    encoded, changed = escaped(ids.combine_chunks())
    rows = {value: row for row, value in enumerate(encoded.to_pylist())} if changed else {}
    return rows | {value: row for row, value in enumerate(ids.to_pylist())}
