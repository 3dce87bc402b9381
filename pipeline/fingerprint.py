"""What identifies a result: hashes of files and of plain values, and the identity of a stage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.errors import StorageError


def canonical(value: Any) -> bytes:
    """One spelling of a JSON value: sorted keys, no white space, UTF-8, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: Any) -> str:
    """sha256 of a JSON value in its one spelling, in hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


def sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hex. Raises StorageError when the file cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"cannot read {path}", got=error.strerror or error) from error


@dataclass(frozen=True)
class Identity:
    """All that a stage's result depends on. Two results with one identity are the same result."""

    stage: str
    version: int
    round: int | None
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    external: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "version": self.version,
            "round": self.round,
            "config": dict(self.config),
            "inputs": dict(self.inputs),
            "external": dict(self.external),
        }

    @property
    def key(self) -> str:
        return digest(self.as_json())


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two identities in their JSON form, a phrase each."""
    says = []
    if old["version"] != new["version"]:
        says.append(f"stage version {old['version']} → {new['version']}")
    before, after = dict(_leaves(old["config"])), dict(_leaves(new["config"]))
    for key in sorted(before.keys() | after.keys()):
        if before.get(key, _ABSENT) != after.get(key, _ABSENT):
            says.append(f"{new['stage']}.{key} {_show(before, key)} → {_show(after, key)}")
    for kind in ("inputs", "external"):
        for key in sorted(old[kind].keys() | new[kind].keys()):
            if old[kind].get(key) != new[kind].get(key):
                says.append(f"{key} changed" if key in old[kind] and key in new[kind] else f"{key} is new or gone")
    return says


_ABSENT = object()


def _show(leaves: Mapping[str, Any], key: str) -> str:
    return json.dumps(leaves[key], ensure_ascii=False) if key in leaves else "(none)"


def _leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """The leaves of a JSON value with their dotted paths; members of a family go by their name."""
    if isinstance(value, dict) and value:
        return [leaf for key in value for leaf in _leaves(value[key], f"{path}.{key}" if path else key)]
    if isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value):
        names = [item["name"] for item in value]
        order = [(f"{path} (order)", names)]
        for i, (item, name) in enumerate(zip(value, names, strict=True)):
            again = names[:i].count(name)  # the same member may be listed several times
            order += _leaves(item, f"{path}.{name}" + (f"#{again + 1}" if again else ""))
        return order
    return [(path, value)]
