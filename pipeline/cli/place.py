"""Which configuration file and which workspace a command means. Light: what only looks needs no more than this."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.objects import SCHEME
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
    if given and given.startswith(SCHEME):
        raise ConfigError(
            "a workspace is a folder", got=given, try_=f"hardrock pull {given}, and hardrock push afterwards"
        )
    name = configuration.stem if limit is None else f"{configuration.stem}-limit-{limit}"
    return Path(given) if given else Path("data/workspaces") / name


def workspace_of(*, config: str | None, workspace: str | None, limit: int | None, **given: Any) -> Workspace:
    """The workspace of a command that only looks, from its options. The configuration is read where something overrides it.

    Raises ConfigError for a configuration file that is not there.
    """
    path = Path(config or "-") if config or workspace else configuration_path(None)
    if not workspace and not path.is_file():
        raise ConfigError("no such configuration file", where=str(path), try_="--config FILE")
    place = Workspace(workspace_path(workspace, path, limit))
    if given["overrides"]:
        from pipeline.config import load

        load(configuration_path(config), given["overrides"], limit, place.root)
    return place
