"""What lies below a folder of pictures: the pictures, their metadata and captions, and what is neither."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from stages.datasets._helpers import File, lines, utf8_fault
from stages.datasets._pictures import CAPTIONS, GROUPS, LABELS, inside, is_picture
from stages.datasets._tables import columns
from stages.errors import ConfigError, InputError, suggestion
from stages.records import Fault, Wrong

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.tsv", "metadata.parquet")
FILE_NAME = "file_name"
_KNOWN = {"caption": CAPTIONS, "group": GROUPS, "label": LABELS}


class PictureFolder:
    """The files below a folder, hidden ones not."""

    def __init__(self, path: str) -> None:
        self._path = path

    @cached_property
    def _below(self) -> list[File]:
        folder = Path(self._path)
        if not folder.is_dir():
            raise InputError("the folder of pictures is not there", where=str(folder), try_="check the path")
        found = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
        return [File(p.as_posix(), folder / p) for p in found if not any(part[0] == "." for part in p.parts)]

    @cached_property
    def metadata(self) -> list[File]:
        """The files that name pictures."""
        return [file for file in self._below if PurePosixPath(file.name).name in METADATA]

    @cached_property
    def files(self) -> list[File]:
        """Those that are read. Raises InputError."""
        pictures = [file for file in self._below if is_picture(file.name)]
        if not pictures:
            raise InputError("no picture is below the folder", where=self._path, try_="files that end in .png, .jpg, …")
        if self.metadata:
            return [*self.metadata, *pictures]
        stems = {PurePosixPath(file.name).with_suffix(".txt").as_posix() for file in pictures}
        return [*pictures, *(file for file in self._below if file.name in stems)]

    @property
    def others(self) -> int:
        """How many are neither pictures nor captions nor metadata."""
        return len(self._below) - len(self.files)


def mapped(file: File, asked: Mapping[str, str | None]) -> dict[str, str]:
    """The columns of metadata by field: caption, group and label, those that are asked for or else known. Raises InputError, ConfigError."""
    there = columns(file)
    if FILE_NAME not in there:
        raise InputError(
            f"the metadata have no column {FILE_NAME!r}",
            where=str(file.path),
            got=", ".join(there),
            try_=f"name each picture's file, relative to the metadata, in the column {FILE_NAME}",
        )
    found = {}
    for field, known in _KNOWN.items():
        name = asked[field]
        if name is not None and name not in there:
            raise ConfigError(
                f"the metadata have no column {name!r}", where=str(file.path), try_=suggestion(name, there)
            )
        if column := name or next((one for one in known if one in there), None):
            found[field] = column
    return found


def named_in(file: File, line: int, name: Any) -> Path | Fault:
    """The picture that a row of metadata names, which is not outside of their folder."""
    place = inside(file.path.parent, name)
    return (
        Fault(file.name, line, FILE_NAME, name if isinstance(name, str) else None, *place)
        if isinstance(place, Wrong)
        else place
    )


def caption_in(file: File) -> str | Fault:
    """The text of a caption's file, lines joined by blanks."""
    texts = []
    for number, offset, line in lines(file):
        try:
            texts.append(line.decode().strip())
        except UnicodeDecodeError as error:
            return utf8_fault(file, number, offset, error)
    return " ".join(text for text in texts if text)
