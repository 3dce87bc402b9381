"""`hardrock compare`: what mining pays."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli import options

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.store import Workspace


@click.command()
@options
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Trainings of every arm.")
@click.option("--steps", type=click.IntRange(min=2), help="Optimizer steps of every arm. Default: the configuration's.")
@click.option("--arms", "first", multiple=True, metavar="ARM…", help="These arms alone: `--arms in_batch naive ours`.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.argument("more", nargs=-1, metavar="[ARM…]")
def compare(
    *, seeds: int, steps: int | None, first: tuple[str, ...], as_json: bool, more: tuple[str, ...],
    config: str | None, workspace: str | None, device: str, limit: int | None, overrides: tuple[str, ...],
    ignore_space: bool,
) -> None:  # fmt: skip
    """Train with other ways to come by negatives, under one budget and several seeds, and show what mining pays.

    Everything is stored below compare/ in the workspace; the results of the workspace itself stay as they are. A second
    call does only what is missing. docs/compare.md says what the arms and the intervals are.
    """
    from pipeline.cli.place import configuration_path, workspace_path
    from pipeline.compare.arms import chosen
    from pipeline.compare.figures import compared
    from pipeline.compare.work import Asked, work
    from pipeline.device import resolve
    from pipeline.lock import locked
    from pipeline.progress import start_logging
    from pipeline.store import Workspace
    from stages.errors import ConfigError

    if more and not first:
        raise ConfigError(f"{more[0]!r} follows no option", try_=f"--arms {' '.join(more)}")
    arms = chosen((*first, *more))
    path = configuration_path(config)
    asked = Asked(
        path, overrides, limit, Workspace(workspace_path(workspace, path, limit)), resolve(device), ignore_space
    )
    with locked(asked.workspace.root):
        start_logging(asked.workspace.root)
        trials, budget = work(asked, arms, seeds, steps, named=bool(first))
        table = compared(trials, budget)
        _store(asked.workspace, asked.rounds, table)
    if as_json:
        click.echo(json.dumps({"arms": table.to_pylist()}, ensure_ascii=False))
    else:
        _print(table)


def _store(workspace: Workspace, rounds: int, table: pa.Table) -> None:
    """Stores the table as Parquet, JSON and Markdown, and shows it in the catalog."""
    from pipeline.environment import hardware
    from pipeline.publish import COMPARED, refresh
    from pipeline.store import commit, commit_json, write_table

    place = workspace.root / COMPARED
    page = _page(table, hardware())
    commit(place, lambda path: write_table(table, path))
    commit_json(place.with_suffix(".json"), {"arms": table.to_pylist()})
    commit(place.with_suffix(".md"), lambda path: _write(path, page))
    refresh(workspace, rounds)


def _page(table: pa.Table, machine: dict[str, Any]) -> str:
    from pipeline.compare.tables import markdown

    return markdown(table, machine, f"hardrock {shlex.join(sys.argv[1:])}")


def _write(path: Any, page: str) -> None:
    path.write_text(page, encoding="utf-8")


def _print(table: pa.Table) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from pipeline.compare.tables import heading, splits

    console = Console(width=None if sys.stdout.isatty() else 200, soft_wrap=False)
    for split, (heads, rows) in splits(table, brief=True).items():
        shown = Table(*heads, box=SIMPLE, pad_edge=False, title=heading(table, split), title_justify="left")
        for row in rows:
            shown.add_row(*row)
        console.print(shown)
