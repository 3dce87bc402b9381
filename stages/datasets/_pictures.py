"""Pictures in files, and the names and columns under which their captions are found."""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from stages.datasets._helpers import NAME, WHOLE
from stages.imaging import SUFFIXES
from stages.records import SPLIT_NAMES, Picture, Wrong, shown

CAPTIONS = ("caption", "captions", "text", "texts", "description", "title", "name", "sentence", "sentences", "alt")
LABELS = ("label", "class", "category")
GROUPS = ("group",)


def is_picture(name: str) -> bool:
    """Whether a file's name ends as that of a picture does."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def picture_file(path: Path, name: str) -> Picture:
    """A picture that is read when it is asked for, by whichever process."""
    return Picture(partial(_read, path), name)


def _read(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most)


def inside(folder: Path, name: Any) -> Path | Wrong:
    """The file that a name in a folder means; names that lead out of it are refused."""
    if not isinstance(name, str) or not name.strip():
        return Wrong("the name of the picture's file is missing", "name the file")
    parts = PurePosixPath(name).parts
    if PurePosixPath(name).is_absolute() or ".." in parts or "\0" in name or "\\" in name:
        return Wrong(
            f"'{shown(name)}' leads out of the folder", "name a file in the folder of the metadata, with / between"
        )
    try:
        longest = max((len(part.encode()) for part in parts), default=0)
    except UnicodeEncodeError:
        return Wrong(f"'{shown(name)}' holds a lone surrogate", "write the character that it was half of")
    if longest > NAME or len(name.encode()) > WHOLE:
        what = f"'{shown(name)}' is longer than a name of a file can be: {NAME} bytes, with its folders {WHOLE:,}"
        return Wrong(what, "give the file a shorter name")
    return folder / name


def split_in(name: str) -> tuple[str | None, tuple[str, ...]]:
    """The split that the first folder of a path names, and the folders that name none."""
    folders = PurePosixPath(name).parts[:-1]
    split = SPLIT_NAMES.get(folders[0].lower()) if folders else None
    return split, folders[1:] if split else folders


def captions_of(value: Any) -> tuple[Any, ...]:
    """A caption, or several in a list; blank ones are none."""
    values = value if isinstance(value, list) else [value]
    return tuple(v for v in values if v is not None and not (isinstance(v, str) and not v.strip()))
