"""Brings the catalog of a workspace up to date with its results, and opens it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pipeline import plan
from pipeline.catalog import Entry, build, hold
from pipeline.store import Workspace
from stages.errors import ArtefactError

if TYPE_CHECKING:
    from pipeline.runner import Runner

DATABASE = "catalog.duckdb"

COMPARED = "compare/compare.parquet"
"""What `hardrock compare` found, below the workspace."""


def entries(workspace: Workspace, rounds: int) -> list[Entry]:
    """Every table of every complete result, with the round it belongs to and its files."""
    found = []
    for node in plan.nodes(rounds):
        manifest = workspace.manifest(node.name)
        if manifest is not None:
            folder = workspace.final(node.name)
            for table, stored in manifest.record.tables.items():
                found.append(Entry(table, node.round, tuple(folder / one.file for one in stored)))
    compared = workspace.root / COMPARED
    if compared.is_file():
        found.append(Entry("compare", None, (compared,)))
    return found


def catalog(workspace: Workspace) -> Path:
    """The catalog of a workspace. It goes when a result changes, and comes back when the run has ended."""
    return workspace.root / DATABASE


def refresh(workspace: Workspace, rounds: int) -> None:
    """Writes the catalog anew: views over what is there now."""
    build(catalog(workspace), entries(workspace, rounds))


@contextmanager
def opened(runner: Runner) -> Iterator[Any]:
    """A connection to a catalog of what is there now. Raises ArtefactError on an empty workspace.

    The catalog is its own, in memory: it works beside a run, and in a workspace that cannot be written.
    """
    with opened_many({"workspace": (runner.workspace, runner.rounds)}) as connection:
        yield connection


@contextmanager
def looked_at(workspace: Workspace) -> Iterator[Any]:
    """As `opened`, for what asks the workspace alone and needs no configuration: all rounds that were begun."""
    with opened_many({"workspace": (workspace, rounds_of(workspace))}) as connection:
        yield connection


def rounds_of(workspace: Workspace) -> int:
    """How many rounds have been begun."""
    return len(list(workspace.root.glob("round-[0-9][0-9]")))


@contextmanager
def opened_many(workspaces: Mapping[str, tuple[Workspace, int]]) -> Iterator[Any]:
    """A connection to the catalogs of workspaces with their numbers of rounds, each under its name. Raises ArtefactError."""
    found = {name: entries(workspace, rounds) for name, (workspace, rounds) in workspaces.items()}
    for name, (workspace, _) in workspaces.items():
        if not found[name]:
            raise ArtefactError(
                "there is nothing in this workspace yet", where=str(workspace.root), try_="hardrock run"
            )
    with TemporaryDirectory(prefix="hardrock-") as folder:
        connection = hold(found, [workspace.root for workspace, _ in workspaces.values()], Path(folder))
        try:
            yield connection
        finally:
            connection.close()
