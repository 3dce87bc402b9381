"""One query: found by its id or its text, with its positives and its candidates in rank order."""

from __future__ import annotations

from typing import Any, NamedTuple

from pipeline.views import shown
from stages.errors import ArtefactError, InputError

Rows = list[dict[str, Any]]


class Asked(NamedTuple):
    """A query that was asked for."""

    row: int
    query_id: str
    text: str
    split: str


class Document(NamedTuple):
    """A document that was asked for."""

    row: int
    doc_id: str
    text: str


def rows(connection: Any, statement: str, **given: Any) -> Rows:
    """The rows of one SELECT, by column name."""
    result = connection.execute(statement, given) if given else connection.execute(statement)
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def views(connection: Any) -> set[str]:
    """The views that are there: what the workspace has made so far."""
    return {name for (name,) in connection.execute("SELECT view_name FROM duckdb_views()").fetchall()}


def need(connection: Any, *names: str, command: str) -> None:
    """Raises ArtefactError unless all these views are there."""
    if missing := [name for name in names if name not in views(connection)]:
        raise ArtefactError(f"the workspace has no {missing[0]} yet", try_=f"hardrock {command}")


def find_query(connection: Any, asked: str) -> Asked:
    """A query by its id, else by its text. Raises InputError with the closest ones."""
    need(connection, "queries", command="ingest")
    found = connection.execute(
        f"SELECT row, query_id, {shown('q', title=False)}, split FROM queries q WHERE query_id = $asked OR text = $asked "
        "ORDER BY query_id = $asked DESC, row LIMIT 1", {"asked": asked}
    ).fetchone()  # fmt: skip
    if found is not None:
        return Asked(*found)
    like = connection.execute(
        "SELECT query_id, text FROM queries ORDER BY jaro_winkler_similarity(lower(text), lower($asked)) DESC LIMIT 3",
        {"asked": asked},
    ).fetchall()
    close = "; ".join(f"{query_id} ({text})" for query_id, text in like)
    raise InputError(f"no query {asked!r}", try_=f"the closest: {close}")


def find_document(connection: Any, asked: str) -> Document:
    """A document by its id. Raises InputError with the closest ones."""
    found = connection.execute(
        f"SELECT row, doc_id, {shown('c')} FROM corpus c WHERE doc_id = $asked", {"asked": asked}
    ).fetchone()
    if found is not None:
        return Document(*found)
    like = connection.execute(
        "SELECT doc_id FROM corpus ORDER BY jaro_winkler_similarity(doc_id, $asked) DESC, row LIMIT 3", {"asked": asked}
    ).fetchall()
    raise InputError(f"no document {asked!r}", try_=f"the closest: {', '.join(doc_id for (doc_id,) in like)}")


def positives(connection: Any, query_row: int, number: int) -> Rows:
    """The query's positives in a round, best first."""
    return rows(
        connection,
        f"SELECT c.doc_id, p.score, p.rank, {shown('c')} AS text FROM positives p JOIN corpus c ON c.row = p.positive_row "
        "WHERE p.query_row = $row AND p.round = $round ORDER BY p.score DESC NULLS LAST, c.row",
        row=query_row,
        round=number,
    )


def candidates(connection: Any, query_row: int, number: int, limit: int) -> Rows:
    """The query's first candidates in a round, in rank order: one row for each positive that a candidate is held against."""
    return rows(
        connection,
        "SELECT j.rank, j.score, j.verdict, c.doc_id, j.evidence.rule AS rule, j.evidence.value AS value, "
        f'j.evidence.limit AS "limit", p.doc_id AS positive_id, j.positive_score, {shown("c")} AS text '
        "FROM judged j JOIN corpus c ON c.row = j.doc_row LEFT JOIN corpus p ON p.row = j.positive_row "
        "WHERE j.query_row = $row AND j.round = $round ORDER BY j.rank, j.positive_row LIMIT $rows",
        row=query_row,
        round=number,
        rows=limit,
    )


def show(connection: Any, asked: str, number: int, limit: int) -> dict[str, Any]:
    """A query with its positives and its first `limit` candidates in a round. Raises InputError, ArtefactError."""
    query = find_query(connection, asked)
    need(connection, "positives", "judged", command="judge")
    return {
        "query_id": query.query_id,
        "text": query.text,
        "split": query.split,
        "round": number,
        "positives": positives(connection, query.row, number),
        "candidates": candidates(connection, query.row, number, limit),
    }
