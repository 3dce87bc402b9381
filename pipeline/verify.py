"""Compares every file of a workspace with its manifest."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.fingerprint import sha256
from pipeline.manifest import Manifest, Stored, read
from pipeline.store import Workspace
from stages.errors import HardrockError

MANIFEST, RUN = "manifest.json", "run.json"

OTHERS = ("logs", "compare")
"""Folders of a workspace that hold no result of its own; below compare/ each folder is a workspace."""


@dataclass(frozen=True)
class Fault:
    """A file that is not as it was written, and how to mend it."""

    path: str
    what: str
    mend: str

    def as_json(self) -> dict[str, str]:
        return asdict(self)


def faults(workspace: Workspace) -> tuple[int, int, list[Fault]]:
    """How many results and files were checked, and all that is wrong with them, in the order of their names."""
    found: list[Fault] = []
    folders = results(workspace.root)
    files = 0
    for folder in folders:
        mend = f"remove {folder} so that the stage runs again"
        try:
            manifest = read(folder / MANIFEST)
        except HardrockError as error:
            found.append(Fault(str(folder / MANIFEST), f"{error.what}: {error.got}", mend))
            continue
        files += 1
        if manifest is None:
            found.append(Fault(str(folder), "a folder without a manifest", mend))
            continue
        files += len(manifest.record.stored())
        found += [Fault(str(path), what, mend) for path, what in _wrong(folder, manifest)]
    return len(folders), files, found


def results(root: Path) -> list[Path]:
    """The folders that hold a result, or should: all below the workspace but hidden ones, the logs and comparisons."""
    places = [*root.glob("*"), *root.glob("round-*/*")]
    return sorted(
        path
        for path in places
        if path.is_dir() and not path.name.startswith((".", "round-")) and path.name not in OTHERS
    )


def _wrong(folder: Path, manifest: Manifest) -> list[tuple[Path, str]]:
    """The files of a result that are missing, changed, or not its own."""
    found = []
    stored = {one.file: one for one in manifest.record.stored()}
    for one in stored.values():
        what = _difference(folder / one.file, one)
        if what:
            found.append((folder / one.file, what))
    for path in sorted(folder.rglob("*")):
        if path.is_file() and str(path.relative_to(folder)) not in (*stored, MANIFEST, RUN):
            found.append((path, "a file that the manifest does not name"))
    return found


def _difference(path: Path, stored: Stored) -> str | None:
    try:
        size = path.stat().st_size
        if size != stored.bytes:
            return f"{size} bytes, not {stored.bytes}"
        found = sha256(path)
    except FileNotFoundError:
        return "missing"
    except (OSError, HardrockError) as error:
        return f"cannot be read: {error}"
    return None if found == stored.sha256 else f"sha256 {found}, not {stored.sha256}"
