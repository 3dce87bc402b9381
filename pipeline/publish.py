"""Brings the catalog of a workspace up to date with its results, and opens it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline import plan
from pipeline.catalog import Entry, build, connect
from pipeline.runner import Runner
from pipeline.store import Workspace
from stages.errors import ArtefactError

DATABASE = "catalog.duckdb"


def entries(workspace: Workspace, rounds: int) -> list[Entry]:
    """Every table of every complete result, with the round it belongs to and its files."""
    found = []
    for node in plan.nodes(rounds):
        manifest = workspace.manifest(node.name)
        if manifest is not None:
            folder = workspace.final(node.name)
            for table, stored in manifest.record.tables.items():
                found.append(Entry(table, node.round, tuple(folder / one.file for one in stored)))
    return found


def refresh(workspace: Workspace, rounds: int) -> Path:
    """Writes the catalog anew: views over what is there now. Returns its path."""
    database = workspace.root / DATABASE
    build(database, entries(workspace, rounds))
    return database


@contextmanager
def opened(runner: Runner) -> Iterator[Any]:
    """A read-only connection to the catalog, brought up to date first. Raises ArtefactError on an empty workspace."""
    workspace = runner.workspace
    if not entries(workspace, runner.rounds):
        raise ArtefactError("there is nothing in this workspace yet", where=str(workspace.root), try_="hardrock run")
    connection = connect(refresh(workspace, runner.rounds), workspace.root)
    try:
        yield connection
    finally:
        connection.close()
