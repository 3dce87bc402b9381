"""What the options of a command mean: a configuration, a workspace and a runner."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline.cli.place import configuration_path, workspace_path
from pipeline.config import Configuration, load
from pipeline.device import resolve
from pipeline.runner import Runner
from pipeline.store import Workspace

LABELS = "labels.jsonl"
"""The file of labels in a workspace."""


def runner(
    config: str | None,
    workspace: str | None,
    device: str,
    limit: int | None,
    overrides: tuple[str, ...],
    *,
    ignore_space: bool = False,
) -> Runner:
    """All of it from a command's options."""
    path = configuration_path(config)
    place = Workspace(workspace_path(workspace, path, limit))
    return Runner(labelled(load(path, overrides, limit, place.root), place), place, resolve(device), ignore_space)


def labels_path(configuration: Configuration, workspace: Workspace) -> Path:
    """Where labels are kept: where the configuration says, else in the workspace, beside the results and not among them."""
    given = getattr(configuration.stages["ingest"], "labels", None)
    return Path(given) if given else workspace.root / LABELS


def labelled(configuration: Configuration, workspace: Workspace) -> Configuration:
    """The configuration with the workspace's own labels, where there are any and it names no others."""
    path = labels_path(configuration, workspace)
    if not path.is_symlink() and not path.exists():
        return configuration
    ingest = configuration.stages["ingest"].model_copy(update={"labels": str(path)})
    return replace(configuration, stages={**configuration.stages, "ingest": ingest})
