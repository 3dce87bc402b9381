"""A repository of data files as `datasets` lays it out: a folder, a folder of `save_to_disk`, or one of the hub."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from stages.datasets._examples import split_in
from stages.datasets._helpers import NAME, WHOLE, File
from stages.datasets._tables import ALL_FORMATS, SIDECARS, kind_of
from stages.errors import ConfigError, InputError, ResourceError, suggestion
from stages.records import shown

Splits = dict[str, list[File]]


def folder_of(path: str | None, repo: str | None, revision: str | None) -> Path:
    """The folder of a data set that is given by path, or as an id of the hub, which is fetched. Raises ConfigError, ResourceError."""
    if (path is None) == (repo is None):
        raise ConfigError("path, or repo for an id of the hub: one of the two", try_='repo = "OWNER/NAME"')
    if path is not None:
        if not Path(path).exists():
            raise InputError("the data set is not there", where=path, try_='repo = "OWNER/NAME" for an id of the hub')
        return Path(path)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["README.md", *(f"*{suffix}{gz}" for suffix in ALL_FORMATS for gz in ("", ".gz"))]
    try:
        return Path(snapshot_download(str(repo), repo_type="dataset", revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ResourceError("the data set of the hub cannot be fetched", where=str(repo), got=str(error).split("\n")[0],
                            try_="check the id and the network, or fetch it and give its folder as path") from None  # fmt: skip


def configurations(folder: Path) -> dict[str, Splits]:
    """The files of each configuration by split, as its card says, else by the names of files. Raises InputError, ConfigError."""
    if folder.is_file():
        return {"default": {"train": [File(folder.name, folder)]}}
    if (folder / "dataset_dict.json").is_file():
        names = _names(folder / "dataset_dict.json", "splits", lambda value: value)
        return {"default": {name: _saved(folder, f"{name}/") for name in names}}
    if (folder / "state.json").is_file():
        return {"default": {"train": _saved(folder, "")}}
    card = _card(folder)
    return {str(c["config_name"]): _listed(folder, c) for c in card} if card else {"default": _by_name(folder)}


def choose(found: Mapping[str, Any], name: str | None, what: str, where: str) -> str:
    """The one that is asked for, else the only one or the one called default. Raises ConfigError."""
    if name is None:
        name = "default" if "default" in found else next(iter(found)) if len(found) == 1 else None
    if name in found:
        return str(name)
    raise ConfigError(f"no {what} {name!r}" if name else f"there are several: {what} says which", where=where,
                      got=", ".join(found) or "none", try_=suggestion(name or "", found))  # fmt: skip


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            "the file cannot be read as JSON", where=str(path), got=str(error), try_="save it again"
        ) from None
    return value if isinstance(value, dict) else {}


def _saved(folder: Path, inner: str) -> list[File]:
    names = _names(folder / inner / "state.json", "_data_files", lambda value: value["filename"])
    return [File(f"{inner}{name}", folder / inner / name) for name in names]


def _names(path: Path, key: str, name_of: Callable[[Any], Any]) -> list[str]:
    """The names of files or folders that a JSON file of `datasets` lists, all of them beside it. Raises InputError."""
    given = _json(path).get(key)
    try:
        names = [name_of(value) for value in given]  # type: ignore[union-attr]
    except (KeyError, TypeError, IndexError):
        names = []
    if not names or not all(isinstance(name, str) and _inside(name) for name in names):
        raise InputError(
            "the file does not list the data files beside it", where=f"{path}, {key!r}", got=shown(str(given)), try_="save it again"
        )  # fmt: skip
    return names


def _inside(name: str) -> bool:
    """Whether a relative path stays below its folder, and can be one."""
    path = PurePath(name)
    possible = "\0" not in name and not any(0xD800 <= ord(c) <= 0xDFFF for c in name)
    possible = possible and len(name.encode()) <= WHOLE and all(len(part.encode()) <= NAME for part in path.parts)
    return bool(name.strip()) and possible and not path.is_absolute() and ".." not in path.parts


def _card(folder: Path) -> list[dict[str, Any]]:
    """The configurations of the card, those that name data files."""
    path = folder / "README.md"
    text = path.read_text("utf-8", errors="replace") if path.is_file() else ""
    if not text.startswith("---"):
        return []
    import yaml  # type: ignore[import-untyped]

    try:
        head = yaml.safe_load(text.split("\n---", 1)[0].removeprefix("---"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError("the head of the card is not YAML", where=str(path), got=str(error).split("\n")[0],
                         try_="mend it, or take it out") from None  # fmt: skip
    listed = head.get("configs") if isinstance(head, dict) else None
    return [c for c in listed or [] if isinstance(c, dict) and "config_name" in c and "data_files" in c]


def _listed(folder: Path, config: Mapping[str, Any]) -> Splits:
    given = config["data_files"]
    several = isinstance(given, list) and bool(given) and isinstance(given[0], dict)
    parts = given if several else [{"split": "train", "path": given}]
    found: Splits = {}
    for part in parts:
        paths = part.get("path") if isinstance(part, dict) and "split" in part else None
        paths = paths if isinstance(paths, list) else [paths]
        if not all(isinstance(path, str) and path for path in paths):
            raise InputError("the card's data_files are neither paths nor split and path", where=str(folder / "README.md"),
                             got=shown(str(part)), try_="mend the card")  # fmt: skip
        matched = {
            p for pattern in paths for p in _matching(folder, f"{config.get('data_dir', '')}/{pattern}".lstrip("/"))
        }
        if not matched:
            raise InputError("the card names files that are not there", where=str(folder / "README.md"), got=shown(", ".join(map(str, paths))),
                             try_="fetch the whole data set, or mend the card")  # fmt: skip
        found.setdefault(str(part["split"]), []).extend(_file(folder, p) for p in sorted(matched))
    return found


def _matching(folder: Path, pattern: str) -> Iterator[Path]:
    if not _inside(pattern):
        return
    if (folder / pattern).is_file():
        yield folder / pattern
    else:
        with suppress(ValueError, NotImplementedError, re.error):  # what cannot be a pattern matches nothing
            yield from (p for p in folder.glob(pattern) if p.is_file())


def _file(folder: Path, path: Path) -> File:
    return File(path.relative_to(folder).as_posix(), path)


def _by_name(folder: Path) -> Splits:
    inner = sorted(p for p in folder.rglob("*") if not p.is_dir() and p.name not in SIDECARS)
    seen = [_file(folder, p) for p in inner if not any(part[0] == "." for part in p.relative_to(folder).parts)]
    data = [file for file in seen if kind_of(file.name, ALL_FORMATS)]
    found: Splits = {}
    for file in data:
        if split := split_in(file.name):
            found.setdefault(split, []).append(file)
    if not data:
        raise InputError(
            "no data file that can be read", where=str(folder), try_=f"files that end in {', '.join(ALL_FORMATS)}"
        )
    return found or {"train": data}
