"""Rows and queries on the terminal: tables for a person, plain lines for a pipe."""

from __future__ import annotations

import json
import math
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from pipeline.catalog import query
from pipeline.looking.one import show
from stages.errors import ArtefactError, HardrockError


def print_rows(connection: Any, statement: str, as_json: bool = False) -> None:
    """Runs a statement and prints its rows: a table on a terminal, tab-separated lines in a pipe, or JSON lines."""
    print_table(*query(connection, statement), as_json)


def print_table(names: Sequence[str], rows: Iterable[Sequence[Any]], as_json: bool = False) -> None:
    """Prints rows: a table on a terminal, tab-separated lines in a pipe, or JSON lines."""
    if as_json:
        for row in rows:
            print_json(dict(zip(names, row, strict=True)))
    elif sys.stdout.isatty():
        _table(names, rows)
    else:
        click.echo("\t".join(cell(name) for name in names))
        for row in rows:
            click.echo("\t".join(cell(value) for value in row))


def say(text: str, indent: int = 0, *, err: bool = False) -> None:
    """Prints one line. A terminal that is too narrow for it has the rest below, between words and behind `indent` blanks."""
    stream = sys.stderr if err else sys.stdout
    line = cell(text).rstrip()
    if stream.isatty():
        width = max(shutil.get_terminal_size().columns, indent + 20)
        folded = textwrap.fill(
            line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
        )
        line = folded if line else ""
    click.echo(line, err=err)


def print_json(value: Any) -> None:
    """Prints a JSON value on one line, in which nothing moves a terminal's cursor."""
    line = json.dumps(_finite(value), ensure_ascii=False, default=str, allow_nan=False)
    click.echo("".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line))


def _finite(value: Any) -> Any:
    """The same value with null for what JSON has no number for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def print_records(names: Sequence[str], records: Iterable[Mapping[str, Any]]) -> None:
    """Prints some columns of records for a person; in a pipe as tab-separated lines."""
    print_table(names, ([record[name] for name in names] for record in records))


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


def show_query(connection: Any, asked: str, number: int, limit: int, as_json: bool = False) -> None:
    """Prints a query, found by id or else by text, its positives, and its first candidates with their verdicts."""
    found = show(connection, asked, number, limit)
    if as_json:
        print_json(found)
        return
    click.echo(cell(f"{found['query_id']} ({found['split']}): {found['text']}"))
    print_records(("doc_id", "score", "rank", "text"), found["positives"])
    click.echo()
    print_records(("rank", "score", "verdict", "doc_id", "value", "limit", "text"), found["candidates"])


def show_rounds(connection: Any, as_json: bool) -> None:
    """Prints the means of every round on every collection with what changed, then how the negatives changed."""
    views = {name for (name,) in connection.execute("SELECT view_name FROM duckdb_views()").fetchall()}
    if not {"metrics", "comparisons"} <= views:
        raise ArtefactError("nothing has been measured yet", try_="hardrock evaluate")
    names, means = query(connection, _MEASURED)
    if sys.stdout.isatty() and not as_json:  # what no round has need not take room from what there is
        said = [i for i in range(len(names)) if any(row[i] not in (None, "") for row in means)]
        names, means = [names[i] for i in said], [tuple(row[i] for i in said) for row in means]
    print_table(names, means, as_json)
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

    table = Table(box=SIMPLE, pad_edge=False, collapse_padding=True)
    held = list(rows)
    for at, name in enumerate(names):
        numbers = all(isinstance(row[at], int | float | None) and not isinstance(row[at], bool) for row in held)
        short = name not in _LONG and max((len(_brief(row[at])) for row in held), default=0) <= _SHORT
        table.add_column(name, no_wrap=short, justify="right" if numbers and held else "left", overflow="fold")
    for row in held:
        table.add_row(*(escape(_brief(value)) for value in row), style=_STYLES.get(_verdict(names, row)))
    Console(soft_wrap=False).print(table)


def _brief(value: Any) -> str:
    """A value in a table for a person: a fraction with four digits, which leave room for the texts."""
    return f"{value:.4g}" if isinstance(value, float) and abs(value) < 1000 else cell(value)


_LONG = frozenset({"text", "query", "document", "positive", "negative", "signs", "says", "why", "examples"})
"""Columns that give way where a terminal is narrow."""

_SHORT = 18
"""Characters of the longest cell of a column that does not give way."""

_STYLES = {"kept": "green", "known_positive": "cyan", "positive": "cyan"}
"""Colours of rows by their verdict; the verdict stands there in words too."""


def _verdict(names: Sequence[str], row: Sequence[Any]) -> str:
    return str(row[names.index("verdict")]) if "verdict" in names else ""


def cell(value: Any) -> str:
    """One value on one line: control characters cannot move a terminal's cursor."""
    text = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return "".join(c if c.isprintable() else " " for c in text)
