"""Inputs that lie in an object store: a copy of each in the workspace, checked and brought up to date before it is read.

`path = "s3://bucket/name"` names an object, or all objects whose names begin with `name/`. The adapters read the copy, as they
read any file or folder; so the content alone is part of a result's identity, and the result is that of the same files on a disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from pipeline.fingerprint import digest, sha256
from pipeline.lock import reading
from pipeline.manifest import prove, proven
from pipeline.objects import ABSENT, Found, Objects, Place, is_plain
from pipeline.progress import LOG
from pipeline.store import commit, commit_json, remove
from stages.errors import InputError

FOLDER = ".inputs"
"""In a workspace: the copies, each below its bucket and name."""


STATES = ".state"
"""Beside the copies; no bucket has such a name."""


@dataclass(frozen=True)
class Origin:
    """Where an input comes from, and where its copy is."""

    url: str
    copy: Path
    state: Path
    """The file that says of which objects the copy is."""

    @classmethod
    def of(cls, url: str, workspace: Path) -> Origin:
        """Raises ConfigError."""
        place = Place.of(url)
        folder = workspace / FOLDER
        copy = folder / place.bucket / place.prefix
        return cls(str(place), copy, folder / STATES / f"{digest(str(place))[:16]}.json")


@dataclass(frozen=True)
class _Copied:
    """An object as it was copied."""

    tag: str
    bytes: int
    sha256: str


_brought: dict[Origin, ExitStack] = {}
"""What this process reads, and the lock that keeps others from replacing it, which is let go with the process."""


def bring(origin: Origin, objects: Objects | None = None) -> None:
    """Makes the copy what the store has; does so once a process. Raises InputError, StorageError, ChangedError.

    An object whose tag is the one that was copied is not fetched again, where the copy still has its bytes.
    """
    if origin in _brought:
        return
    objects = objects or Objects(Place.of(origin.url))
    found = _found(objects)
    if not found:
        raise InputError("there are no objects", where=origin.url, try_="the name of an object, or of a folder of them")
    if wrong := [name for name in found if name and not is_plain(name)]:
        raise InputError(
            "an object's name cannot be a path",
            where=origin.url,
            got=repr(wrong[0]),
            try_="rename it, or name a place without it",
        )
    with ExitStack() as stack:
        alone = stack.enter_context(reading(origin.state.with_suffix(".lock")))
        have, todo = _compared(origin, found)
        if todo or _others(origin.copy, set(have)):
            with alone():
                _mend(origin, objects, have, todo)
        _brought[origin] = stack.pop_all()


def _mend(origin: Origin, objects: Objects, have: dict[str, _Copied], todo: Sequence[Found]) -> None:
    """Removes what the copy should not have, and fetches what it lacks."""
    LOG.info(
        "%s: %d of %d objects to fetch, %d bytes",
        origin.url,
        len(todo),
        len(todo) + len(have),
        sum(one.bytes for one in todo),
    )
    for path in _others(origin.copy, set(have)):
        remove(path)
    for one in todo:
        have[one.name] = _fetch(objects, origin.copy, one)
        commit_json(origin.state, prove({"objects": {name: asdict(copied) for name, copied in have.items()}}))


def _compared(origin: Origin, found: Mapping[str, Found]) -> tuple[dict[str, _Copied], list[Found]]:
    """What the copy has as it should be, and what it lacks."""
    known = _known(origin)
    have = {name: known[name] for name, one in found.items() if _is_copied(origin.copy, one, known.get(name))}
    return have, [one for name, one in found.items() if name not in have]


def _found(objects: Objects) -> dict[str, Found]:
    """The object of that name, else those below it, by their names; the empty ones that stand for folders are none."""
    itself = objects.itself()
    if itself is not None and itself.bytes:
        return {"": itself}
    every = {one.name: one for one in objects.listed()}
    folders = {str(above) for name in every for above in PurePosixPath(name).parents}
    if wrong := [name for name in folders & every.keys() if every[name].bytes]:
        raise InputError(
            "an object and others below its name", where=objects.where(wrong[0]), try_="rename it: a file is no folder"
        )
    return {name: one for name, one in every.items() if name not in folders} or ({"": itself} if itself else {})


def _known(origin: Origin) -> Mapping[str, _Copied]:
    try:
        return {name: _Copied(**one) for name, one in proven(origin.state.read_bytes())["objects"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _path(copy: Path, name: str) -> Path:
    return copy / name if name else copy


def _is_copied(copy: Path, one: Found, known: _Copied | None) -> bool:
    path = _path(copy, one.name)
    same = (
        known is not None
        and one.tag != ABSENT
        and (known.tag, known.bytes) == (one.tag, one.bytes)
        and path.is_file()
        and not path.is_symlink()
    )
    return same and path.stat().st_size == one.bytes and known is not None and sha256(path) == known.sha256


def _others(copy: Path, kept: set[str]) -> list[Path]:
    """What is in the copy and is not, or not any more, what the store has."""
    if copy.is_symlink() or copy.is_file():
        return [] if "" in kept else [copy]
    inside = sorted(copy.rglob("*"), reverse=True)
    return [p for p in inside if p.is_symlink() or (p.is_file() and p.relative_to(copy).as_posix() not in kept)]


def _fetch(objects: Objects, copy: Path, one: Found) -> _Copied:
    seen, count = hashlib.sha256(), 0

    def write(path: Path) -> None:
        nonlocal count
        with path.open("wb") as file:
            for piece in objects.read(one.name, one.tag):
                seen.update(piece)
                count += file.write(piece)
        if count != one.bytes:
            raise InputError(
                "an object is not as long as the store says",
                where=objects.where(one.name),
                got=f"{count} bytes, not {one.bytes}",
            )

    commit(_path(copy, one.name), write)
    return _Copied(one.tag, one.bytes, seen.hexdigest())
