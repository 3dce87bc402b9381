"""Commands that look at a workspace and change nothing in it but its catalog."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from pipeline import room
from pipeline.cli import options
from pipeline.cli.session import runner


@click.command()
@options
@click.option("--json", "as_json", is_flag=True, help="One JSON list on standard output.")
def status(as_json: bool, **given: Any) -> None:
    """Say for each stage in each round whether its result is fresh or stale, and why."""
    states = runner(**given).status()
    if as_json:
        click.echo(json.dumps([{"stage": s.node.name, "fresh": s.fresh, "why": list(s.why)} for s in states]))
        return
    for state in states:
        word = "fresh" if state.fresh else "waits" if state.waits else "stale"
        click.echo(f"{state.node.name:<18} {word:<6} {'; '.join(state.why)}".rstrip())


@click.command()
@options
def plan(**given: Any) -> None:
    """List the stages that a run would bring up to date, in order, and about what each will write."""
    made = runner(**given)
    states = [state for state in made.status() if not state.fresh]
    for state in states:
        says = (
            f"{'; '.join(state.why)}: runs only if what it reads has changed" if state.waits else "; ".join(state.why)
        )
        click.echo(f"{state.node.name:<18} {says}")
    if not states:
        click.echo("all fresh, nothing to do")
        return
    for state in states:
        if not state.waits:
            click.echo(f"{state.node.name} will write about {room.human(made.writes(state.node))}")
    click.echo(f"{room.human(room.free(made.workspace.root))} are free at {made.workspace.root}")


@click.command()
@options
@click.argument("statement", required=False)
@click.option("--json", "as_json", is_flag=True, help="Rows as JSON, one object a line.")
def sql(statement: str | None, as_json: bool, **given: Any) -> None:
    """Run a statement over the workspace's views; without one, open a prompt.

    Any other DuckDB client can open catalog.duckdb in the workspace as well.
    """
    from pipeline.cli.console import print_rows, prompt
    from pipeline.publish import opened

    with opened(runner(**given)) as connection:
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
    from pipeline.publish import opened

    with opened(runner(**given)) as connection:
        show_rounds(connection, as_json)
