"""A workspace in an object store: `push` publishes its results there, `pull` fetches them.

    PREFIX/objects/SHA256     the files of all results, under the hash of their content
    PREFIX/workspace.json     the head: which results there are, by the hashes of their manifests

Nothing but the head is ever overwritten, and it is written last, in one conditional PUT. So whoever reads sees a workspace as
one push left it, a push that is killed has changed nothing that is seen, and the next one sends what is missing. Of two pushes
at once one wins, and the other is told. docs/decisions/0013 has the reasons.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from pipeline import foreign, room
from pipeline.fingerprint import sha256
from pipeline.manifest import Manifest, Stored, parsed, prove, proven, spelled
from pipeline.objects import ABSENT, Objects, damaged, is_plain
from pipeline.progress import LOG, at_once
from pipeline.store import Building, Workspace, commit, commit_json, link
from pipeline.verify import MANIFEST, RUN, results
from stages.errors import ArtefactError, InputError

HEAD = "workspace.json"

SYNCED = ".synced.json"
"""In a workspace: the heads that it was last pushed as or pulled from. What differs from them was made here, or there by others."""

LABELS = "labels.jsonl"
"""What a person has labelled; it goes along with the results."""

FORMAT = 1

RESULT = re.compile(r"(round-\d\d/)?[a-z]+")


@dataclass(frozen=True)
class Head:
    """What a store has: of each result the hashes of its manifest and its run.json, and those of further files."""

    results: Mapping[str, Mapping[str, Stored]]
    files: Mapping[str, Stored] = field(default_factory=dict)

    def data(self) -> bytes:
        results = {name: {file: asdict(one) for file, one in files.items()} for name, files in self.results.items()}
        files = {name: asdict(one) for name, one in self.files.items()}
        return spelled(prove({"format": FORMAT, "results": results, "files": files}))

    @staticmethod
    def of(data: bytes, where: str) -> Head:
        """Raises ArtefactError for what is not a head, or names what could not be a result."""
        try:
            value = proven(data)
            if value["format"] != FORMAT:
                raise ValueError(f"it is of format {value['format']}, this version reads {FORMAT}")
            results = {
                name: {file: Stored(**one) for file, one in files.items()} for name, files in value["results"].items()
            }
            files = {name: Stored(**one) for name, one in value["files"].items()}
            if wrong := [name for name in results if not RESULT.fullmatch(name)] + [n for n in files if n != LABELS]:
                raise ValueError(f"{wrong[0]!r} is no result")
            if wrong := [name for name, files in results.items() if set(files) != {MANIFEST, RUN}]:
                raise ValueError(f"{wrong[0]!r} has no {MANIFEST} and {RUN}")
            return Head(results, files)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtefactError(
                "the head of a workspace is damaged", where=where, got=error, try_="push once more, with --replace"
            ) from None

    def made(self) -> dict[str, str]:
        """The hash of each result's manifest and of each further file: what is lost when it is replaced."""
        return {name: files[MANIFEST].sha256 for name, files in self.results.items()} | {
            name: one.sha256 for name, one in self.files.items()
        }


@dataclass(frozen=True)
class Moved:
    """What a push or a pull did."""

    results: int
    files: int
    bytes: int


def push(workspace: Workspace, objects: Objects, *, replace: bool = False, anew: bool = False) -> Moved:
    """Publishes all results of a workspace, whose lock is held. `anew` sends files again that are there already.

    Raises ArtefactError for a result that is damaged here, or where others have pushed what `replace` would lose; ChangedError
    where another push is faster; StorageError.
    """
    head, files = _here(workspace)
    if not head.results:
        raise ArtefactError("there is nothing in this workspace yet", where=str(workspace.root), try_="hardrock run")
    found = objects.get(HEAD)
    before = _head(objects, found, replace)
    lost = [] if replace else _lost(before.made(), head.made(), _synced(workspace, objects))
    if lost:
        raise ArtefactError(
            "others have pushed results there that are not here", where=objects.where(HEAD), got=", ".join(lost),
            try_="hardrock pull them, push to another PREFIX, or push --replace if they are not wanted",
        )  # fmt: skip
    there = {} if anew else {one.name.rpartition("/")[2]: one.bytes for one in objects.listed("objects")}
    todo = {one.sha256: path for path, one in files if there.get(one.sha256) != one.bytes}
    sizes = {one.sha256: one.bytes for _, one in files}
    at_once("push", [partial(objects.send, f"objects/{sha}", path, sha) for sha, path in todo.items()])  # type: ignore[misc]
    if found is None or found[0] != head.data():
        _remember(workspace, objects, [before, head])
        objects.put(HEAD, head.data(), found[1] if found else ABSENT)
    _remember(workspace, objects, [head])
    return Moved(len(head.results), len(todo), sum(sizes[sha] for sha in todo))


def pull(workspace: Workspace, objects: Objects, *, replace: bool = False) -> Moved:
    """Fetches every result that is not here, each whole or not at all. The lock is held and the workspace recovered.

    Raises ArtefactError where there is no workspace, where an object is damaged, and for results that were made here and
    `replace` would lose; StorageError.
    """
    found = objects.get(HEAD)
    if found is None:
        raise ArtefactError(
            "there is no workspace", where=objects.where(HEAD), try_="hardrock push, from where the results are"
        )
    head = Head.of(found[0], objects.where(HEAD))
    here, files = _here(workspace)
    near = {one.sha256: path for path, one in files}
    lost = [] if replace else _lost(here.made(), {**here.made(), **head.made()}, _synced(workspace, objects))
    if lost:
        raise ArtefactError(
            "this workspace has other results of its own", where=str(workspace.root), got=", ".join(lost),
            try_="another WORKSPACE, or pull --replace if they are not wanted",
        )  # fmt: skip
    moved = []
    for name, one in head.files.items():
        if here.files.get(name) != one:
            commit(workspace.root / name, lambda path, one=one: path.write_bytes(_small(objects, one)))  # type: ignore[misc]
            moved.append(one)
    count = 0
    for name, own in head.results.items():
        same = name in here.results and here.results[name][MANIFEST] == own[MANIFEST]
        if not same or _lacks(workspace, name):
            moved += _fetch(workspace, objects, name, own, near)
            count += 1
    _remember(workspace, objects, [head])
    return Moved(count, len(moved), sum(one.bytes for one in moved))


def _here(workspace: Workspace) -> tuple[Head, list[tuple[Path, Stored]]]:
    """The head of what a workspace has, and the files of it all. Raises ArtefactError for a folder that is no result."""
    found: dict[str, dict[str, Stored]] = {}
    files: list[tuple[Path, Stored]] = []
    for folder in results(workspace.root):
        name = folder.relative_to(workspace.root).as_posix()
        manifest = workspace.manifest(name)
        if manifest is None or not RESULT.fullmatch(name):
            raise ArtefactError(
                "a folder in the workspace is no result", where=str(folder), try_="remove it, or move it elsewhere"
            )
        own = {file: _stored(folder / file, file) for file in (MANIFEST, RUN)}
        found[name] = own
        files += [(folder / one.file, one) for one in (*manifest.record.stored(), *own.values())]
    labels = workspace.root / LABELS
    more = {LABELS: _stored(labels, LABELS)} if labels.is_file() else {}
    return Head(found, more), files + [(labels, one) for one in more.values()]


def _stored(path: Path, name: str) -> Stored:
    digest = sha256(path)
    return Stored(name, path.stat().st_size, digest)


def _lacks(workspace: Workspace, name: str) -> bool:
    manifest = workspace.manifest(name)
    return manifest is None or workspace.lacks(name, manifest) is not None


def _head(objects: Objects, found: tuple[bytes, str] | None, replace: bool) -> Head:
    """The head that is there; with `replace` a damaged one counts for nothing."""
    try:
        return Head.of(found[0], objects.where(HEAD)) if found else Head({})
    except ArtefactError:
        if replace:
            return Head({})
        raise


def _lost(old: Mapping[str, str], new: Mapping[str, str], synced: list[Head]) -> list[str]:
    """What is in `old` and neither the same in `new`, nor in a head that this workspace was once the same as."""
    known = [head.made() for head in synced]
    return sorted(n for n, made in old.items() if new.get(n) != made and all(seen.get(n) != made for seen in known))


def _synced(workspace: Workspace, objects: Objects) -> list[Head]:
    """The heads that were last pushed to this place or pulled from it; none where that cannot be read."""
    try:
        value = proven((workspace.root / SYNCED).read_bytes())
        mine = value["place"] == str(objects.place) and value["endpoint"] == objects.endpoint
        return [Head.of(spelled(one), SYNCED) for one in value["heads"]] if mine else []
    except (OSError, ValueError, KeyError, TypeError, ArtefactError):
        return []


def _remember(workspace: Workspace, objects: Objects, heads: list[Head]) -> None:
    values = [json.loads(head.data()) for head in heads]
    commit_json(
        workspace.root / SYNCED, prove({"place": str(objects.place), "endpoint": objects.endpoint, "heads": values})
    )


def _pieces(objects: Objects, one: Stored) -> Iterator[bytes]:
    """An object's bytes; raises ArtefactError at the end where they are not what they should be."""
    name, seen, mend = f"objects/{one.sha256}", hashlib.sha256(), "hardrock push --anew, from a workspace that is whole"
    try:
        for piece in objects.read(name):
            seen.update(piece)
            yield piece
    except InputError:
        raise ArtefactError(
            "an object is missing", where=objects.where(name), got=f"it holds {one.file}", try_=mend
        ) from None
    if seen.hexdigest() != one.sha256:
        raise damaged(f"{objects.where(name)}, which holds {one.file}", seen.hexdigest(), one.sha256, mend)


def _small(objects: Objects, one: Stored) -> bytes:
    return b"".join(_pieces(objects, one))


def _fetch(
    workspace: Workspace, objects: Objects, name: str, files: Mapping[str, Stored], near: Mapping[str, Path]
) -> list[Stored]:
    """Fetches one result and gives it its name; returns what came from the store. What an earlier pull has fetched stays.

    `near` are files of this workspace by their hash: what is among them need not be fetched.
    """
    data = {file: _small(objects, one) for file, one in files.items()}
    wanted = _manifest(data[MANIFEST], objects, name).record.stored()
    building = Building(workspace, name, f"pull {files[MANIFEST].sha256}").begin()
    folder = building.folder
    todo = [one for one in wanted if not _is_whole(folder / one.file, one)]
    copied = [one for one in todo if one.sha256 in near and _is_whole(near[one.sha256], one)]
    for one in copied:
        commit(folder / one.file, lambda path, one=one: link(near[one.sha256], path))  # type: ignore[misc]
    todo = [one for one in todo if one not in copied]
    size = sum(one.bytes for one in todo)
    room.check(f"pull of {name}", workspace.root, size + room.FIXED)
    LOG.info("%s: %d of %d files, %s", name, len(todo), len(wanted), room.human(size))
    at_once(name, [partial(_receive, objects, folder, one) for one in todo])  # type: ignore[misc]
    for one in wanted:
        if one.file.endswith(foreign.SUFFIX) and one not in copied:  # also one that an earlier pull has fetched
            foreign.refuse_hostile(folder / one.file, f"{objects.where(f'objects/{one.sha256}')}, {name}/{one.file}")
    for file in (RUN, MANIFEST):  # the manifest last
        commit(folder / file, lambda path, file=file: path.write_bytes(data[file]))  # type: ignore[misc]
    workspace.swap(name)
    return [*todo, *files.values()]


def _manifest(data: bytes, objects: Objects, name: str) -> Manifest:
    where = f"{objects.where(HEAD)}, {name}"
    manifest = parsed(data, where, "push it anew with this version")
    if wrong := [one.file for one in manifest.record.stored() if not is_plain(one.file)]:
        raise ArtefactError("a manifest names a file outside of its result", where=where, got=wrong[0])
    return manifest


def _is_whole(path: Path, one: Stored) -> bool:
    return path.is_file() and path.stat().st_size == one.bytes and sha256(path) == one.sha256


def _receive(objects: Objects, folder: Path, one: Stored) -> None:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            for piece in _pieces(objects, one):
                file.write(piece)

    commit(folder / one.file, write)
