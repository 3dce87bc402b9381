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
from stages.datasets._helpers import File, digest
from stages.datasets._picture_folder import FILE_NAME, METADATA, PictureFolder, caption_in, mapped, named_in
from stages.datasets._pictures import captions_of, is_picture, picture_file, split_in
from stages.datasets._tables import columns, rows
from stages.errors import HardrockError
from stages.records import Fault, Note
from stages.settings import speed


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
        taken = self._taken(self._folder.metadata[0]) if self._folder.metadata else {}
        return {"id": FILE_NAME, "picture": FILE_NAME, "text": taken.get("caption", "caption")}

    def fingerprint(self) -> str:
        """A sha256 over the names and bytes of all files that are read."""
        return digest(self._folder.files)

    def locate(self, file: str) -> str:
        return str(Path(self.path) / file)

    def shown(self) -> Iterator[Shown | Fault | Note]:
        if self._folder.metadata:
            for file in self._folder.metadata:
                yield from self._named(file)
        else:
            yield from self._bare()
        if self._folder.others:
            yield Note(f"{self._folder.others:,} files are neither pictures nor captions nor metadata: left alone")

    def _named(self, file: File) -> Iterator[Shown | Fault | Note]:
        taken = self._taken(file)
        yield Note(f"{file.name}: columns taken: " + ", ".join(f"{field} = {name}" for field, name in taken.items()))
        wanted = [FILE_NAME, *taken.values()]
        base = PurePosixPath(file.name).parent
        for item in rows(file, wanted, [taken["caption"]] if "caption" in taken else ()):
            if isinstance(item, Fault):
                yield item
                continue
            line, row = item
            place = named_in(file, line, row.get(FILE_NAME))
            if isinstance(place, Fault):
                yield place
                continue
            name = (base / row[FILE_NAME]).as_posix()
            values = {field: row.get(column) for field, column in taken.items()}
            yield self._shown(file.name, line, name, place, captions_of(values.pop("caption", None)), **values)

    def _bare(self) -> Iterator[Shown | Fault | Note]:
        beside = {file.name for file in self._folder.files}
        for file in self._folder.files:
            if not is_picture(file.name):
                continue
            text = PurePosixPath(file.name).with_suffix(".txt").as_posix()
            _, folders = split_in(file.name)
            label = folders[-1] if folders else None
            captions: tuple[str, ...] = () if label is None else (label,)
            if text in beside:
                found = caption_in(File(text, Path(self.path) / text))
                if isinstance(found, Fault):
                    yield found
                    continue
                captions = captions_of(found)
            yield self._shown(file.name, 1, file.name, file.path, captions, label=label)

    def _shown(self, file: str, line: int, name: str, path: Path, captions: tuple[Any, ...], **known: Any) -> Shown:
        return Shown(file, line, name, picture_file(path, name), captions, split=split_in(name)[0], **known)

    def _taken(self, file: File) -> dict[str, str]:
        return mapped(file, {"caption": self.caption, "group": self.group, "label": self.label})

    @cached_property
    def _folder(self) -> PictureFolder:
        return PictureFolder(self.path)


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
