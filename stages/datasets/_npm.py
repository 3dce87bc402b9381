"""JSON files of packages of npm, packed as `npm pack` leaves them or unpacked as `npm install` does; nothing of them is run."""

from __future__ import annotations

import hashlib
import json
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stages.errors import InputError
from stages.records import shown

_FOLDERS = (".", "*", "*/*", "node_modules/*", "node_modules/*/*")
FILE_BYTES = 64 << 20
"""A larger file of a package is not read."""


class Package(NamedTuple):
    """A package: its name and version, and the folder or the packed file that holds it."""

    name: str
    version: str
    place: Path

    def sha256(self, names: Sequence[str]) -> str:
        """Over the bytes of the files named, one after the other: the same for one that is packed and one that is not."""
        whole = hashlib.sha256()
        for name in names:
            whole.update(_read(self.place, name))
        return whole.hexdigest()

    def json(self, name: str) -> dict[str, Any] | list[Any]:
        """A file's content. Raises InputError where it is missing, damaged or no object or list."""
        return _json(self.place, name)


def packages(folder: Path) -> dict[str, Package]:
    """The packages in a folder, by name. Raises InputError where one cannot be read, or is there twice."""
    if not folder.is_dir():
        raise InputError("no folder of npm packages", where=str(folder), try_="a folder in which `npm pack` was run")
    unpacked = {path.parent for pattern in _FOLDERS for path in folder.glob(f"{pattern}/package.json")}
    found: dict[str, Package] = {}
    for place in (*sorted(folder.glob("*.tgz")), *sorted(unpacked)):
        known = _json(place, "package.json")
        name, version = (str(known.get(key)) for key in ("name", "version")) if isinstance(known, dict) else ("", "")
        if name in found:
            raise InputError(f"the package {shown(name)} is there twice", where=str(folder),
                             got=f"{found[name].place.name} and {place.name}", try_="take one of them away")  # fmt: skip
        found[name] = Package(name, version, place)
    return found


def _json(place: Path, name: str) -> dict[str, Any] | list[Any]:
    try:
        found = json.loads(_read(place, name))
    except (ValueError, RecursionError) as error:
        raise _damaged(place, name, error) from None
    if not isinstance(found, dict | list):
        raise _damaged(place, name, TypeError("neither an object nor a list"))
    return found


def _read(place: Path, name: str) -> bytes:
    try:
        if place.is_dir():
            with (place / name).open("rb") as file:
                content = file.read(FILE_BYTES + 1)
        else:
            with tarfile.open(place, "r:gz") as tar:
                member = tar.extractfile(f"package/{name}")
                content = b"" if member is None else member.read(FILE_BYTES + 1)
    except KeyError:
        raise _damaged(place, name, FileNotFoundError("it is not in the package")) from None
    except (tarfile.TarError, zlib.error, OSError, EOFError, ValueError) as error:
        raise _damaged(place, name, error) from None
    if len(content) > FILE_BYTES:
        raise _damaged(place, name, ValueError(f"more than {FILE_BYTES:,} bytes"))
    return content


def _damaged(place: Path, name: str, error: Exception) -> InputError:
    return InputError(
        f"{name} of an npm package cannot be read", where=str(place), got=shown(str(error)), try_="npm pack it again"
    )
