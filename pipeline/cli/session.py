"""What the options of a command mean: a configuration, a workspace and a runner."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import Configuration, load
from pipeline.device import resolve
from pipeline.runner import Runner
from pipeline.store import Workspace
from stages.errors import ConfigError

PLACES = ("hardrock.toml", "configs/default.toml")


def configuration_path(given: str | None) -> Path:
    """The configuration file: the one that is given, else the first of `PLACES` that is there."""
    if given:
        return Path(given)
    for place in PLACES:
        if Path(place).is_file():
            return Path(place)
    raise ConfigError("no configuration here", got=f"neither of {', '.join(PLACES)}", try_="--config FILE")


def workspace_path(given: str | None, configuration: Path, limit: int | None = None) -> Path:
    """The workspace: the folder that is given, else data/workspaces/ and the configuration's name, with a limit its own."""
    name = configuration.stem if limit is None else f"{configuration.stem}-limit-{limit}"
    return Path(given) if given else Path("data/workspaces") / name


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
    loaded: Configuration = load(path, overrides, limit)
    return Runner(loaded, Workspace(workspace_path(workspace, path, limit)), resolve(device), ignore_space)
