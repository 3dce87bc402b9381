"""Exports in an object store, under the names that a trainer's loader knows.

    PREFIX/st_triplet/data/train-00000-of-00001.parquet
    PREFIX/st_triplet/ids.parquet
    PREFIX/st_triplet/export.json                          last: with it the target is whole, and it has the sha256 of every file

Nothing that is there is replaced: a loader that reads one file after the other would get some of each. `begun.json` keeps two
different exports from beginning at one place, and goes when the target is whole; the same export goes on after a kill.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import PurePosixPath

from pipeline.fingerprint import digest
from pipeline.manifest import Stored, spelled
from pipeline.objects import ABSENT, ChangedError, Objects
from pipeline.progress import at_once
from pipeline.room import human
from pipeline.store import Workspace
from stages.errors import ArtefactError

LAST = "export.json"
BEGUN = "begun.json"


def deliver(workspace: Workspace, name: str, objects: Objects) -> dict[str, str]:
    """Copies each target of a complete export, and says what was done. The workspace's lock is held.

    Raises ArtefactError where something else is there already, StorageError.
    """
    manifest = workspace.manifest(name)
    if manifest is None:
        raise ArtefactError(f"{name} has not been made", where=str(workspace.final(name)), try_="hardrock export")
    found = {}
    for folder, stored in manifest.record.files.items():
        target = PurePosixPath(folder).name
        files = {f"{target}/{PurePosixPath(one.file).relative_to(folder)}": one for one in stored}
        found[target] = _deliver(workspace, name, objects, files)
    return found


def _deliver(workspace: Workspace, name: str, objects: Objects, files: Mapping[str, Stored]) -> str:
    target = next(iter(files)).partition("/")[0]
    last, begun = f"{target}/{LAST}", f"{target}/{BEGUN}"
    folder = workspace.final(name)
    described = (folder / files[last].file).read_bytes()
    there = {one.name: one.bytes for one in objects.listed(target)}
    if _is_whole(objects, last, described):
        if lacks := [place for place, one in files.items() if there.get(place) != one.bytes]:
            raise _other(objects, lacks[0], "it was changed after it was exported")
        if begun in there:
            objects.remove(begun)
        return "is there already"
    if foreign := sorted(there.keys() - files.keys() - {begun}):
        raise _other(objects, foreign[0], "it is no part of this export")
    _begin(objects, begun, spelled({"export": digest([[place, one.sha256] for place, one in sorted(files.items())])}))
    if not _is_whole(objects, last, described):  # another process may have finished meanwhile
        data = {place: one for place, one in files.items() if place != last}
        at_once(f"{target} out", [partial(objects.send, p, folder / one.file, one.sha256) for p, one in data.items()])
        objects.send(last, folder / files[last].file, files[last].sha256)
    objects.remove(begun)
    return f"{len(files)} files, {human(sum(one.bytes for one in files.values()))}"


def _begin(objects: Objects, begun: str, mark: bytes) -> None:
    """Marks that this export is on its way. Raises ArtefactError where another one is."""
    try:
        objects.put(begun, mark, ABSENT)
    except ChangedError:
        found = objects.get(begun)
        if found is None or found[0] != mark:
            raise _other(objects, begun, "another export was begun here") from None


def _is_whole(objects: Objects, last: str, expected: bytes) -> bool:
    """Whether this export is there. Raises ArtefactError for another one."""
    found = objects.get(last)
    if found is not None and found[0] != expected:
        raise _other(objects, last, "another export is there")
    return found is not None


def _other(objects: Objects, place: str, got: str) -> ArtefactError:
    return ArtefactError(
        "something else is there already, and nothing is replaced", where=objects.where(place), got=got,
        try_="another --out, or remove what is there",
    )  # fmt: skip
