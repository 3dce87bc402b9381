"""`hardrock show` and `hardrock why`: one query, and one query with one document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from pipeline.cli import options

in_round = click.option(
    "--round", "number", type=click.IntRange(min=0), default=0, show_default=True, help="Round of the model."
)
"""The option that chooses a round."""


def as_json(says: str) -> Callable[[Any], Any]:
    """The option --json."""
    return click.option("--json", "as_json", is_flag=True, help=says)


@click.command()
@options
@click.argument("query")
@in_round
@click.option("--rows", type=click.IntRange(min=1), default=20, show_default=True, help="Candidates to show.")
@as_json("One JSON object on standard output.")
def show(query: str, number: int, rows: int, as_json: bool, **given: Any) -> None:
    """Show one query, by id or text: its positives, and its candidates in rank order with score and verdict."""
    from pipeline.cli.console import show_query
    from pipeline.cli.place import workspace_of
    from pipeline.publish import looked_at

    with looked_at(workspace_of(**given)) as connection:
        show_query(connection, query, number, rows, as_json)


@click.command()
@options
@click.argument("query")
@click.argument("document")
@in_round
@as_json("One JSON object on standard output.")
def why(query: str, document: str, number: int, as_json: bool, **given: Any) -> None:
    """Say why a document, by id, is or is not a negative of a query: every filter's answer with its numbers."""
    from pipeline.cli.console import print_json
    from pipeline.cli.session import runner
    from pipeline.looking.why import why as asked
    from pipeline.publish import opened

    made = runner(**given)
    with opened(made) as connection:
        found = asked(made, connection, query, document, number)
    if as_json:
        print_json(found)
    else:
        _explain(found)


def _explain(found: dict[str, Any]) -> None:
    from pipeline.cli.console import print_records, say

    say(f"query     {found['query_id']} ({found['split']}): {found['query']}", 10)
    say(f"document  {found['doc_id']}: {found['document']}", 10)
    say(f"verdict   {found['verdict']}, round {found['round']}", 10)
    for row in found["stored"]:
        _stored(row)
    if found["sampled_for"]:
        say(f"sampled   as a negative beside {', '.join(found['sampled_for'])}", 10)
    if found["beyond"]:
        beyond = found["beyond"]
        say(
            f"score     {beyond['score']:.4f}; the last candidate, rank {beyond['last_rank']}, has {beyond['last_score']:.4f}"
            if beyond["last_rank"] is not None
            else f"score     {beyond['score']:.4f}",
            10,
        )
    if found["filters"]:
        print_records(("filter", "says", "value", "limit", "positive_id", "positive_score"), found["filters"])
    for teacher in (found["stored"][0]["teachers"] or []) if found["stored"] else []:
        says = f"{_number(teacher['score'])}, least positive {_number(teacher['positive'])}"
        say(f"teacher   {teacher['teacher']}: {says}", 10)


def _stored(row: dict[str, Any]) -> None:
    from pipeline.cli.console import say

    if row["rank"] is not None:
        gap = "" if row["gap"] is None else f", gap {row['gap']:.1%}"
        held = (
            f"; held against {row['positive_id']} with {_number(row['positive_score'])}{gap}"
            if row["positive_id"]
            else ""
        )
        say(f"found     rank {row['rank']}, score {_number(row['score'])}, by {row['retriever'] or 'none'}{held}", 10)
    for each in row["found_by"] or []:
        say(f"          {each['retriever']}: rank {each['rank']}, score {_number(each['score'])}", 10)
    if row["relevance"] is not None:
        say(f"judged    relevance {row['relevance']}, {row['source']}", 10)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"
