"""Commands that print what the catalog of a workspace answers."""

from __future__ import annotations

import sys
from typing import Any

import click

from pipeline.cli import options


@click.command()
@options
@click.argument("statement", required=False)
@click.option("--json", "as_json", is_flag=True, help="Rows as JSON, one object a line.")
def sql(statement: str | None, as_json: bool, **given: Any) -> None:
    """Run a statement over the workspace's views; without one, open a prompt.

    Any other DuckDB client can open catalog.duckdb in the workspace as well.
    """
    from pipeline.cli.console import print_rows, prompt
    from pipeline.cli.place import workspace_of
    from pipeline.publish import looked_at

    with looked_at(workspace_of(**given)) as connection:
        if statement is not None:
            print_rows(connection, statement, as_json)
        elif sys.stdin.isatty():
            prompt(connection, as_json)
        else:
            for one in filter(str.strip, sys.stdin.read().split(";")):
                print_rows(connection, one, as_json)


@click.command()
@options
@click.option("--json", "as_json", is_flag=True, help="Rows as JSON, one object a line.")
def rounds(as_json: bool, **given: Any) -> None:
    """Show what each round gained, what it cost on the guards, and how its negatives changed."""
    from pipeline.cli.console import show_rounds
    from pipeline.cli.place import workspace_of
    from pipeline.publish import looked_at

    with looked_at(workspace_of(**given)) as connection:
        show_rounds(connection, as_json)
