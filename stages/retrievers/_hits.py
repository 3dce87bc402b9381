"""What any system found, as files hold it: TREC runs, MS MARCO's top1000, and lists of ids in JSON lines or Parquet."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from stages.errors import InputError

_LINE = 1 << 24  # characters; a longer line is another kind of file
_LARGEST = sys.float_info.max
FORMS = "query-id Q0 doc-id rank score tag, query-id doc-id score, or query-id doc-id"
_QUERY, _DOCUMENTS, _SCORES = ("query-id", "query_id"), ("corpus-ids", "document_ids"), ("scores",)


class Hit(NamedTuple):
    query: str
    document: str
    rank: int
    score: float


def hits(path: Path) -> Iterator[tuple[str, Hit]]:
    """Each hit with its place. In a file without scores the r-th hit of a query has the score 1/r.

    Raises InputError for a file that cannot be read, for what is no hit, and where some hits have a score and others none.
    """
    seen: dict[str, int] = {}
    scored = False
    for place, (query, document, rank, score) in _found(path):
        scored |= score is not None
        if scored and (seen or score is None):
            raise InputError(
                "not a line of a TREC run as the ones before it are: some hits have a score and others none",
                where=place,
                got=f"{query} {document}"[:120],
                try_=f"a score for every hit of the file, or for none: {FORMS}",
            )
        if score is None:
            seen[query] = seen.get(query, 0) + 1
        yield place, Hit(query, document, rank, 1 / seen[query] if score is None else score)


_Found = tuple[str, str, int, float | None]


def _found(path: Path) -> Iterator[tuple[str, _Found]]:
    if path.suffix == ".parquet":
        for number, row in _rows(path):
            yield from _listed(row, f"{path}, row {number}")
        return
    for number, line in _lines(path):
        where = f"{path}, line {number}"
        if line.startswith("{"):
            yield from _listed(_object(line, where), where)
        else:
            yield where, _parsed(line, where)


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        number = 0
        for batch in pq.ParquetFile(path).iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, str(error).splitlines()[0]) from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file that are not blank, numbered from 1."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for number, line in enumerate(iter(lambda: file.readline(_LINE), ""), 1):
                if len(line) == _LINE:
                    raise InputError(f"a line longer than {_LINE:,} characters", where=f"{path}, line {number}")
                if line.strip():
                    yield number, line
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: object) -> InputError:
    return InputError("the TREC run cannot be read", where=str(path), got=error)


def _object(line: str, where: str) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _wrong(where, line)
    return found


def _listed(row: Mapping[str, Any], where: str) -> Iterator[tuple[str, _Found]]:
    """MTEB's top_ranked (query-id, corpus-ids), and sentence-transformers' rows (query_id, document_ids, scores)."""
    query, documents, scores = (
        next((row[name] for name in names if name in row), None) for names in (_QUERY, _DOCUMENTS, _SCORES)
    )
    if not isinstance(documents, list) or not all(isinstance(one, str) for one in (query, *documents)):
        raise _wrong(where, json.dumps(row, default=str))
    given: Any = [None] * len(documents) if scores is None else scores
    if not isinstance(given, list) or not all(one is None or type(one) in (int, float) for one in given):
        raise _wrong(where, json.dumps(row, default=str))
    if len(given) != len(documents):
        raise InputError(
            "a row has as many scores as documents", where=where, got=f"{len(documents)} documents, {len(given)} scores"
        )
    for rank, (document, score) in enumerate(zip(documents, given, strict=True), 1):
        yield where, _checked((str(query), document, rank, score), where, document)


def _parsed(line: str, where: str) -> _Found:
    tabbed, fields = line.rstrip("\r\n").split("\t"), line.split()
    hit: _Found
    try:
        if len(fields) == 6 and (len(tabbed) != 4 or fields[1].upper() == "Q0"):
            hit = (fields[0], fields[2], int(fields[3]), float(fields[4]))
        elif len(tabbed) == 4:  # MS MARCO's top1000: query id, passage id, query, passage
            hit = (tabbed[0], tabbed[1], 0, None)
        elif len(fields) == 3:
            hit = (fields[0], fields[1], 0, float(fields[2]))
        elif len(fields) == 2:
            hit = (fields[0], fields[1], 0, None)
        else:
            raise ValueError
        if not -(2**63) <= hit[2] < 2**63:
            raise ValueError
    except ValueError:
        raise _wrong(where, line) from None
    return _checked(hit, where, line)


def _wrong(where: str, got: str) -> InputError:
    return InputError("not a line of a TREC run", where=where, got=got.strip()[:120], try_=FORMS)


def _checked(hit: _Found, where: str, got: str) -> _Found:
    if hit[3] is not None and not (-_LARGEST <= hit[3] <= _LARGEST):
        raise InputError("a score of the TREC run is not a finite number", where=where, got=got.strip()[:120])
    return hit
