"""Rows and queries on the terminal: tables for a person, plain lines for a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from pipeline.catalog import query
from stages.errors import ArtefactError, HardrockError, InputError


def print_rows(connection: Any, statement: str, as_json: bool = False) -> None:
    """Runs a statement and prints its rows: a table on a terminal, tab-separated lines in a pipe, or JSON lines."""
    names, rows = query(connection, statement)
    if as_json:
        for row in rows:
            line = json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False, default=str)
            click.echo("".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line))
    elif sys.stdout.isatty():
        _table(names, rows)
    else:
        click.echo("\t".join(_cell(name) for name in names))
        for row in rows:
            click.echo("\t".join(_cell(value) for value in row))


def prompt(connection: Any, as_json: bool) -> None:
    """Reads statements that end in a semicolon until end of file or `.quit`."""
    click.echo("Statements end with ; and .quit leaves. SHOW TABLES; lists the views.")
    gathered = ""
    while True:
        try:
            line = input("hardrock> " if not gathered else "     ...> ")
        except EOFError:
            return
        if line.strip() in (".quit", ".exit"):
            return
        gathered += line + "\n"
        if gathered.rstrip().endswith(";"):
            try:
                print_rows(connection, gathered, as_json)
            except HardrockError as error:
                click.echo(str(error), err=True)
            gathered = ""


def show_query(connection: Any, asked: str, number: int, limit: int) -> None:
    """Prints a query, found by id or else by text, its positives, and its first candidates with their verdicts."""
    found = connection.execute(
        "SELECT row, query_id, text, split FROM queries WHERE query_id = $asked OR text = $asked "
        "ORDER BY query_id = $asked DESC, row LIMIT 1", {"asked": asked}
    ).fetchone()  # fmt: skip
    if found is None:
        like = connection.execute(
            "SELECT query_id, text FROM queries ORDER BY jaro_winkler_similarity(lower(text), lower($asked)) DESC LIMIT 3",
            {"asked": asked},
        ).fetchall()
        close = "; ".join(f"{query_id} ({text})" for query_id, text in like)
        raise InputError(f"no query {asked!r}", try_=f"the closest: {close}")
    row, query_id, text, split = found
    click.echo(_cell(f"{query_id} ({split}): {text}"))
    here = {"row": row, "round": number, "rows": limit}
    _table(("positive", "score", "rank", "text"), connection.execute(
        "SELECT c.doc_id, round(p.score, 4), p.rank, c.text FROM positives p JOIN corpus c ON c.row = p.positive_row "
        "WHERE p.query_row = $row AND p.round = $round ORDER BY p.score DESC", {"row": row, "round": number}
    ).fetchall())  # fmt: skip
    _table(("rank", "score", "verdict", "document", "value", "limit", "text"), connection.execute(
        "SELECT j.rank, round(j.score, 4), j.verdict, c.doc_id, round(j.evidence.value, 4), round(j.evidence.limit, 4), c.text "
        "FROM judged j JOIN corpus c ON c.row = j.doc_row WHERE j.query_row = $row AND j.round = $round "
        "ORDER BY j.rank, j.positive_row LIMIT $rows", here
    ).fetchall())  # fmt: skip


def show_rounds(connection: Any, as_json: bool) -> None:
    """Prints the means of every round on every collection with what changed, then how the negatives changed."""
    views = {name for (name,) in connection.execute("SELECT view_name FROM duckdb_views()").fetchall()}
    if not {"metrics", "comparisons"} <= views:
        raise ArtefactError("nothing has been measured yet", try_="hardrock evaluate")
    print_rows(connection, _MEASURED, as_json)
    if "churn" in views and connection.execute("SELECT count(*) FROM churn").fetchone()[0]:
        print_rows(connection, "FROM churn", as_json)


def _interval(of: str, form: str) -> str:
    """SQL for a value with its interval."""
    return f"format('{{:{form}}} ({{:{form}}} to {{:{form}}})', {of}, low, high)"


_MEASURED = f"""
    WITH changes AS (
        SELECT round, against_round, collection, split, measure, cutoff, {_interval("difference", "+.4f")} AS change
        FROM comparisons WHERE against_system = 'dense'
    ),
    means AS (
        SELECT *, {_interval("value", ".4f")} AS mean FROM metrics WHERE query_row IS NULL
    )
    SELECT coalesce(m.collection, '') AS guard, m.split, m.measure || coalesce('@' || m.cutoff, '') AS measure, m.system,
        m.round, m.mean AS value, f.change AS "minus round 0", b.change AS "minus the round before"
    FROM means m
    LEFT JOIN changes f ON m.system = 'dense' AND (f.round, f.split, f.measure) = (m.round, m.split, m.measure)
        AND f.collection IS NOT DISTINCT FROM m.collection AND f.cutoff IS NOT DISTINCT FROM m.cutoff AND f.against_round = 0
    LEFT JOIN changes b ON m.system = 'dense' AND (b.round, b.split, b.measure) = (m.round, m.split, m.measure)
        AND b.collection IS NOT DISTINCT FROM m.collection AND b.cutoff IS NOT DISTINCT FROM m.cutoff
        AND b.against_round = m.round - 1 AND m.round > 1
    ORDER BY m.collection NULLS FIRST, m.split, m.measure, m.cutoff, m.system, m.round"""


def _table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*names, box=SIMPLE, pad_edge=False)
    for row in rows:
        table.add_row(*(escape(_cell(value)) for value in row))
    Console(width=None if sys.stdout.isatty() else 160, soft_wrap=False).print(table)


def _cell(value: Any) -> str:
    """One value on one line: control characters cannot move a terminal's cursor."""
    text = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return "".join(c if c.isprintable() else " " for c in text)
