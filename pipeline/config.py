"""A TOML file → frozen typed models, one a stage.

    rounds = 1
    [encoder]                 given to embed, to train and to guard
    [ingest] … [report]       a table a stage; what is left out has its default
    [engine]                  who does the shards: this process, several, a Ray cluster

Unknown keys are errors with a suggestion. What one stage prepares for another follows it (`FOLLOWS`). Relative paths count from the folder of the configuration file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import plan
from pipeline.engines import EngineConfig
from pipeline.inputs import Origin
from pipeline.objects import SCHEME
from stages.errors import ConfigError, suggestion
from stages.settings import Settings, parse

SHARED = {"encoder": ("embed", "train", "guard")}
"""Tables at the top that become a field of several stages."""

FOLLOWS = {("deepen", "wanted"): ("sample", "negatives")}
"""Fields that are another's where they are left out, and never less: so much is looked for as is chosen from it."""

SCALARS = {"rounds": 1}

ENGINE = "engine"
"""The table that says who does the shards."""

MODELS = ("model", "tokenizer")
"""Keys that hold a hub id, `package:…`, or a folder."""


@dataclass(frozen=True)
class Configuration:
    """The whole configuration: how many rounds train, the model of each stage, and the inputs of it that lie in a store."""

    source: Path
    rounds: int
    stages: Mapping[str, Settings]
    engine: EngineConfig = field(default_factory=EngineConfig)
    origins: Mapping[str, tuple[Origin, ...]] = field(default_factory=dict)


def load(
    path: Path, overrides: Sequence[str] = (), limit: int | None = None, workspace: Path | None = None
) -> Configuration:
    """Reads a configuration. `overrides` are `stage.key=value` with a TOML value; `limit` becomes ingest.limit and guard.limit.

    Inputs that lie in an object store are copied into `workspace`, and only where there is one; the copies are made later.
    """
    try:
        if path.is_fifo():  # nobody may ever write into it
            raise ConfigError("the configuration cannot be read", where=str(path), got="a pipe", try_="a file")
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError("no such configuration file", where=str(path), try_="CONFIG=configs/default.toml") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("the configuration is not TOML", where=str(path), got=error) from None
    except RecursionError:
        raise ConfigError("the configuration is not TOML", where=str(path), got="values nested too deeply") from None
    except OSError as error:
        raise ConfigError("the configuration cannot be read", where=str(path), got=error.strerror) from None
    for override in overrides:
        _override(tables, override)
    if limit is not None:
        for stage in ("ingest", "guard"):
            tables.setdefault(stage, {})["limit"] = limit
    return _build(tables, path.absolute(), workspace.absolute() if workspace else None)


def _override(tables: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"{override!r} is not of the form stage.key=value", try_="--set mine.depth=200")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *path, last = key.strip().split(".")
    table: Any = tables
    for step in path:
        table = table.setdefault(step, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{key!r} goes through {step!r}, which is not a table")
    table[last] = value


def _build(tables: dict[str, Any], source: Path, workspace: Path | None) -> Configuration:
    for name in tables:
        known = [*plan.STAGES, *SHARED, *SCALARS, ENGINE]
        if name not in known:
            raise ConfigError(f"unknown key {name!r}", where=str(source), try_=suggestion(name, known))
    rounds = tables.get("rounds", SCALARS["rounds"])
    if isinstance(rounds, bool) or not isinstance(rounds, int) or not 0 <= rounds <= 99:
        raise ConfigError("rounds is a whole number from 0 to 99", where=str(source), got=rounds)
    stages: dict[str, Settings] = {}
    origins: dict[str, tuple[Origin, ...]] = {}
    for stage in plan.STAGES:
        table = tables.get(stage, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{stage} is a table", where=str(source), got=table, try_=f"[{stage}]")
        shared = {key: tables[key] for key, users in SHARED.items() if stage in users and key in tables}
        try:
            given, origins[stage] = _fetched(_absolute({**shared, **table}, source.parent), workspace)
            stages[stage] = parse(plan.spec(stage).config, given, stage)
        except ConfigError as error:
            error.where = error.where or str(source)
            raise
    for follower, leader in FOLLOWS.items():
        stages[follower[0]] = _follow(stages, follower, leader, source)
    others = {stage: _shown(model.semantic()) for stage, model in stages.items() if stage != "report"}
    stages["report"] = stages["report"].model_copy(update={"configuration": others})
    try:
        engine = parse(EngineConfig, tables.get(ENGINE, {}), ENGINE)
    except (ConfigError, TypeError, ValueError) as error:
        raise ConfigError("engine is a table", where=str(source), got=error) from None
    return Configuration(source, rounds, stages, engine, origins)


def _shown(value: Any) -> Any:
    """The same value with absolute paths cut to their last part, so that a page is the same in any folder."""
    if isinstance(value, dict):
        return {key: _shown(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shown(inner) for inner in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _follow(
    stages: Mapping[str, Settings], follower: tuple[str, str], leader: tuple[str, str], source: Path
) -> Settings:
    """The follower's stage with the leader's value where none is given. Raises ConfigError when it is given and less."""
    stage, field = follower
    wanted = getattr(stages[leader[0]], leader[1])
    if field not in stages[stage].model_fields_set:
        return stages[stage].model_copy(update={field: wanted})
    if (given := getattr(stages[stage], field)) < wanted:
        raise ConfigError(
            f"{stage}.{field} is less than {leader[0]}.{leader[1]}",
            where=str(source),
            got=f"{given} and {wanted}",
            try_=f"leave {stage}.{field} out: it is then {leader[0]}.{leader[1]}",
        )
    return stages[stage]


def _absolute(value: Any, folder: Path) -> Any:
    """The same value with relative paths made absolute: of `path` and `labels` always, of a model only where the folder is there."""
    if isinstance(value, list):
        return [_absolute(inner, folder) for inner in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, inner in value.items():
        is_path = (
            isinstance(inner, str)
            and not inner.startswith(SCHEME)
            and (key in ("path", "labels") or (key in MODELS and (folder / inner).exists()))
        )
        found[key] = str(folder / inner) if is_path else _absolute(inner, folder)
    return found


def _fetched(value: Any, workspace: Path | None) -> tuple[Any, tuple[Origin, ...]]:
    """The same value with the place of a copy for each `path` in an object store, and where the copies are from. Raises ConfigError."""
    if isinstance(value, list):
        pairs = [_fetched(inner, workspace) for inner in value]
        return [inner for inner, _ in pairs], tuple(one for _, more in pairs for one in more)
    if not isinstance(value, dict):
        return value, ()
    found, origins = {}, []
    for key, inner in value.items():
        if key == "path" and isinstance(inner, str) and inner.startswith(SCHEME):
            if workspace is None:
                raise ConfigError("an input in an object store needs a workspace for its copy", got=inner)
            origins.append(Origin.of(inner, workspace))
            found[key] = str(origins[-1].copy)
        else:
            found[key], more = _fetched(inner, workspace)
            origins += more
    return found, tuple(origins)
