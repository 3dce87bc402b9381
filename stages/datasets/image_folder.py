"""A folder of pictures, with captions in `metadata.jsonl`, `.csv` or `.parquet`, in `.txt` files beside them, or as folders' names

    DIR/metadata.jsonl        {"file_name": "0001.png", "text": "a dog", "group"?: …, "label"?: …}, as Hugging Face's imagefolder
    DIR/0001.png 0001.txt     or a caption beside each picture
    DIR/dog/0001.png          or folders that name classes, which are captions too

Folders train, dev (or validation) and test, at the top, are the splits.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import Field

from stages.datasets._captioned import Captioned, Shown
from stages.datasets._guess import Guess
from stages.datasets._helpers import File, digest, lines, utf8_fault
from stages.datasets._pictures import (
    CAPTIONS,
    GROUPS,
    LABELS,
    captions_of,
    inside,
    is_picture,
    picture_file,
    split_in,
)  # fmt: skip
from stages.datasets._tables import columns, rows
from stages.errors import ConfigError, HardrockError, InputError, suggestion
from stages.records import Fault, Note, Wrong
from stages.settings import speed

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.tsv", "metadata.parquet")
FILE_NAME = "file_name"
_KNOWN = {"caption": CAPTIONS, "group": GROUPS, "label": LABELS}


class ImageFolder(Captioned):
    """Pictures below a folder. A picture's id is its path in it.

    A picture that metadata name several times has several captions. What is below the folder and is neither picture, caption
    nor metadata is counted and left alone; so are pictures that metadata do not name.
    """

    path: str = speed(..., "The folder. Its content is part of a result's identity, its place is not.")
    caption: str | None = Field(None, description="Column of captions in the metadata; null looks for a known name.")
    group: str | None = Field(
        None, description="Column of groups: pictures of one thing. They are split as one. Null looks for `group`."
    )
    label: str | None = Field(None, description="Column of classes; null looks for a known name.")

    @property
    def column_names(self) -> Mapping[str, str]:  # type: ignore[override]
        return {"id": FILE_NAME, "picture": FILE_NAME, "text": "caption"}

    def fingerprint(self) -> str:
        """A sha256 over the names and bytes of all files that are read."""
        return digest(self._files)

    def locate(self, file: str) -> str:
        return str(Path(self.path) / file)

    def shown(self) -> Iterator[Shown | Fault | Note]:
        if self._metadata:
            for file in self._metadata:
                yield from self._named(file)
        else:
            yield from self._bare()
        if self._others:
            yield Note(f"{self._others:,} files are neither pictures nor captions nor metadata: left alone")

    def _named(self, file: File) -> Iterator[Shown | Fault | Note]:
        mapped = self._mapped(file)
        yield Note(f"{file.name}: columns taken: " + ", ".join(f"{field} = {name}" for field, name in mapped.items()))
        wanted = [FILE_NAME, *mapped.values()]
        base = PurePosixPath(file.name).parent
        for item in rows(file, wanted, [mapped["caption"]] if "caption" in mapped else ()):
            if isinstance(item, Fault):
                yield item
                continue
            line, row = item
            place = inside(file.path.parent, row.get(FILE_NAME))
            if isinstance(place, Wrong):
                given = row.get(FILE_NAME)
                yield Fault(file.name, line, FILE_NAME, given if isinstance(given, str) else None, *place)
                continue
            name = (base / row[FILE_NAME]).as_posix()
            values = {field: row.get(column) for field, column in mapped.items()}
            yield self._shown(file.name, line, name, place, captions_of(values.pop("caption", None)), **values)

    def _bare(self) -> Iterator[Shown | Fault | Note]:
        beside = {file.name for file in self._files}
        for file in self._files:
            if not is_picture(file.name):
                continue
            text = PurePosixPath(file.name).with_suffix(".txt").as_posix()
            _, folders = split_in(file.name)
            label = folders[-1] if folders else None
            captions: tuple[str, ...] = () if label is None else (label,)
            if text in beside:
                found = _caption(File(text, Path(self.path) / text))
                if isinstance(found, Fault):
                    yield found
                    continue
                captions = captions_of(found)
            yield self._shown(file.name, 1, file.name, file.path, captions, label=label)

    def _shown(self, file: str, line: int, name: str, path: Path, captions: tuple[Any, ...], **known: Any) -> Shown:
        return Shown(file, line, name, picture_file(path, name), captions, split=split_in(name)[0], **known)

    def _mapped(self, file: File) -> dict[str, str]:
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
            asked = getattr(self, field)
            if asked is not None and asked not in there:
                raise ConfigError(
                    f"the metadata have no column {asked!r}", where=str(file.path), try_=suggestion(asked, there)
                )
            if column := asked or next((name for name in known if name in there), None):
                found[field] = column
        return found

    @cached_property
    def _below(self) -> list[File]:
        folder = Path(self.path)
        if not folder.is_dir():
            raise InputError("the folder of pictures is not there", where=str(folder), try_="check the path")
        found = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
        return [File(p.as_posix(), folder / p) for p in found if not any(part[0] == "." for part in p.parts)]

    @cached_property
    def _metadata(self) -> list[File]:
        return [file for file in self._below if PurePosixPath(file.name).name in METADATA]

    @cached_property
    def _files(self) -> list[File]:
        pictures = [file for file in self._below if is_picture(file.name)]
        if not pictures:
            raise InputError("no picture is below the folder", where=self.path, try_="files that end in .png, .jpg, …")
        if self._metadata:
            return [*self._metadata, *pictures]
        stems = {PurePosixPath(file.name).with_suffix(".txt").as_posix() for file in pictures}
        return [*pictures, *(file for file in self._below if file.name in stems)]

    @property
    def _others(self) -> int:
        return len(self._below) - len(self._files)


def _caption(file: File) -> str | Fault:
    """The text of a caption's file, lines joined by blanks."""
    texts = []
    for number, offset, line in lines(file):
        try:
            texts.append(line.decode().strip())
        except UnicodeDecodeError as error:
            return utf8_fault(file, number, offset, error)
    return " ".join(text for text in texts if text)


def recognise(place: str) -> Guess | None:
    """A folder with pictures in it or below."""
    folder = Path(place)
    if not folder.is_dir():
        return None
    try:
        named = next((folder / name for name in METADATA if (folder / name).is_file()), None)
        if named and FILE_NAME in columns(File(named.name, named)):
            return Guess(85, {"path": place}, (f"{named.name} names pictures in the column {FILE_NAME}",))
        below = itertools.islice((p for p in folder.rglob("*") if p.is_file()), 1_000)
        pictures = sum(is_picture(p.name) for p in below)
    except (HardrockError, OSError):
        return None
    return Guess(50, {"path": place}, (f"{pictures} pictures or more are below the folder",)) if pictures else None
