"""Rows with a picture in them, as `datasets` stores its Image feature: Parquet or Arrow with a column of {bytes, path}

A folder with a card, a folder of `save_to_disk`, a file, or an id of the hub. Pictures may be bytes, or files beside the data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from stages.datasets import _repository as repository
from stages.datasets._captioned import Captioned, Shown
from stages.datasets._guess import Guess
from stages.datasets._helpers import File, digest
from stages.datasets._pictures import CAPTIONS, GROUPS, LABELS, captions_of, inside, picture_file
from stages.datasets._tables import columns, kind_of, rows, schema_of
from stages.errors import ConfigError, HardrockError, suggestion
from stages.records import SPLIT_NAMES, Fault, Note, Picture, Wrong
from stages.settings import speed

_ROWS = 32  # read at once: pictures are large
_IDS = ("id", "_id", "image_id", "file_name")
_KNOWN = {"id": _IDS, "caption": CAPTIONS, "group": GROUPS, "label": LABELS}
_FORMATS = {".parquet": "parquet", ".arrow": "arrow"}


class ImageRows(Captioned):
    """Rows of a picture and its captions. A picture's id is that of its row, or its file and row where there is none."""

    path: str | None = speed(None, "A folder, or a file. Its content is part of a result's identity.")
    repo: str | None = Field(None, description="An id of the hub, OWNER/NAME, instead of a path.")
    revision: str | None = Field(None, description="Commit, tag or branch on the hub; a commit never changes.")
    subset: str | None = Field(None, description="Configuration; null takes the only one, or the one called default.")
    image: str | None = Field(None, description="Column of pictures; null takes the only one.")
    id: str | None = Field(None, description="Column of ids; null looks for a known name.")
    caption: str | None = Field(
        None, description="Column of captions, or of lists of them; null looks for a known name."
    )
    group: str | None = Field(None, description="Column of groups, which are split as one; null looks for `group`.")
    label: str | None = Field(None, description="Column of classes; null looks for a known name.")

    @property
    def column_names(self) -> Mapping[str, str]:  # type: ignore[override]
        mapped = self._mapped(self._files[0])
        return {"picture": mapped["image"], "text": mapped.get("caption", "caption"), "id": mapped.get("id", "id")}

    def fingerprint(self) -> str:
        """A sha256 over the names and bytes of the files of rows; of pictures beside them, over these as well."""
        return digest([*self._files, *self._beside])

    def locate(self, file: str) -> str:
        return next((str(one.path) for one in self._files if one.name == file), file)

    def shown(self) -> Iterator[Shown | Fault | Note]:
        for split, files in self._splits.items():
            known = SPLIT_NAMES.get(split.lower()) if len(self._splits) > 1 else None
            for file in files:
                mapped = self._mapped(file)
                names = _label_names(schema_of(file), mapped.get("label"))
                wanted = list(mapped.values())
                yield Note(f"{file.name}: columns taken: " + ", ".join(f"{k} = {v}" for k, v in mapped.items()))
                for item in rows(file, wanted, wanted, _ROWS):
                    if isinstance(item, Fault):
                        yield item
                        continue
                    values = {field: item[1].get(column) for field, column in mapped.items()}
                    yield self._row((file, known, names), item[0], values)

    def _row(self, place: tuple[File, str | None, list[str]], line: int, values: Mapping[str, Any]) -> Shown | Fault:
        file, split, names = place
        key = values.get("id", f"{file.name}/{line}")
        key = str(key) if isinstance(key, int) and not isinstance(key, bool) else key
        picture = self._picture(file, line, values["image"])
        if isinstance(picture, Wrong):
            return Fault(file.name, line, self._mapped(file)["image"], key if isinstance(key, str) else None, *picture)
        label = values.get("label")
        if isinstance(label, int):
            label = names[label] if 0 <= label < len(names) else str(label)
        return Shown(
            file.name, line, key, picture, captions_of(values.get("caption")), values.get("group"), label, split
        )

    def _picture(self, file: File, line: int, value: Any) -> Picture | Wrong:
        given = value if isinstance(value, dict) else {"bytes": value}
        if isinstance(given.get("bytes"), bytes):
            return Picture(given["bytes"], f"{file.name}/{line}")
        if given.get("path") is None:
            return Wrong("the row has no picture", "add it, or take the row out")
        place = inside(file.path.parent, given["path"])
        return place if isinstance(place, Wrong) else picture_file(place, str(given["path"]))

    def _mapped(self, file: File) -> dict[str, str]:
        schema = schema_of(file)
        pictures = [field.name for field in schema if _holds_pictures(field.type)]
        if self.image is None and len(pictures) != 1:
            raise ConfigError(
                "there are several columns of pictures" if pictures else "no column holds pictures: bytes, or {bytes, path}",
                where=str(file.path), got=", ".join(pictures or schema.names), try_='image = "COLUMN"',
            )  # fmt: skip
        found = {"image": self.image or pictures[0]}
        for field, known in _KNOWN.items():
            asked = getattr(self, field)
            if column := asked or next((name for name in known if name in schema.names), None):
                found[field] = column
        if lacks := [name for name in found.values() if name not in schema.names]:
            raise ConfigError(
                f"there is no column {lacks[0]!r}", where=str(file.path), try_=suggestion(lacks[0], schema.names)
            )
        return found

    @cached_property
    def _splits(self) -> repository.Splits:
        folder = repository.folder_of(self.path, self.repo, self.revision)
        found = repository.configurations(folder)
        chosen = found[repository.choose(found, self.subset, "subset", str(folder))]
        for files in chosen.values():
            for file in files:
                if not kind_of(file.name, _FORMATS):
                    raise ConfigError(
                        "pictures are in rows of Parquet or Arrow", where=str(file.path), try_="image_folder"
                    )
        return chosen

    @property
    def _files(self) -> list[File]:
        return [file for files in self._splits.values() for file in files]

    @cached_property
    def _beside(self) -> list[File]:
        """The files of pictures that rows name and do not hold."""
        found: dict[str, File] = {}
        for file in self._files:
            column = self._mapped(file)["image"]
            if not pa.types.is_struct(schema_of(file).field(column).type):
                continue
            for item in rows(file, [column], [column], _ROWS):
                value = None if isinstance(item, Fault) else item[1].get(column)
                if value and value.get("bytes") is None and value.get("path") is not None:
                    place = inside(file.path.parent, value["path"])
                    if isinstance(place, Path) and place.is_file():
                        found[value["path"]] = File(value["path"], place)
        return list(found.values())


def _holds_pictures(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return {field.name for field in kind} == {"bytes", "path"}
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _label_names(schema: pa.Schema, column: str | None) -> list[str]:
    """The names of a ClassLabel's numbers, as `datasets` writes them into the schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return [str(name) for name in features[column]["names"]]
    except (KeyError, TypeError, ValueError):
        return []


def recognise(place: str) -> Guess | None:
    """Rows of which one column holds pictures."""
    if not Path(place).exists():
        return None
    member = ImageRows(path=place)  # type: ignore[call-arg]
    try:
        file = member._files[0]
        mapped = member._mapped(file)
        first = next(iter(rows(file, [mapped["image"]], [mapped["image"]], 1)))
    except (HardrockError, StopIteration, OSError):
        return None
    if isinstance(first, Fault) or not columns(file):
        return None
    return Guess(75, {"path": place}, (f"the column {mapped['image']} holds pictures",))
