"""Stored tables of one runner's workspace, read with their bytes checked."""

from __future__ import annotations

from pipeline.plan import Node
from pipeline.runner import Runner
from pipeline.source import TableSource
from stages.errors import ArtefactError


def stored(runner: Runner, node: Node, name: str) -> TableSource:
    """One table of a node. Raises ArtefactError when it has not been made."""
    manifest = runner.workspace.manifest(node.name)
    if manifest is None:
        raise ArtefactError(f"{node.name} has not been made", where=str(runner.workspace.root), try_="hardrock compare")
    return TableSource(runner.workspace.final(node.name), name, manifest, {})
