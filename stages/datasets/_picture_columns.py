"""Which columns of Parquet and Arrow files hold pictures, and which say something of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.datasets._helpers import File
from stages.datasets._pictures import CAPTIONS, GROUPS, LABELS, inside, picture_file
from stages.datasets._tables import rows, schema_of
from stages.errors import ConfigError, suggestion
from stages.records import Fault, Picture, Wrong

ROWS = 32
"""Read at once: pictures are large."""
_IDS = ("id", "_id", "image_id", "file_name")
_KNOWN = {"id": _IDS, "caption": CAPTIONS, "group": GROUPS, "label": LABELS}


def mapped(file: File, asked: Mapping[str, str | None]) -> dict[str, str]:
    """The columns by field: image, id, caption, group and label, those that are asked for or else known. Raises ConfigError."""
    schema = schema_of(file)
    pictures = [field.name for field in schema if _holds_pictures(field.type)]
    if asked["image"] is None and len(pictures) != 1:
        raise ConfigError(
            "there are several columns of pictures" if pictures else "no column holds pictures: bytes, or {bytes, path}",
            where=str(file.path), got=", ".join(pictures or schema.names), try_='image = "COLUMN"',
        )  # fmt: skip
    found = {"image": asked["image"] or pictures[0]}
    for field, known in _KNOWN.items():
        if column := asked[field] or next((name for name in known if name in schema.names), None):
            found[field] = column
    if lacks := [name for name in found.values() if name not in schema.names]:
        raise ConfigError(
            f"there is no column {lacks[0]!r}", where=str(file.path), try_=suggestion(lacks[0], schema.names)
        )
    return found


def _holds_pictures(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return {field.name for field in kind} == {"bytes", "path"}
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def label_names(schema: pa.Schema, column: str | None) -> list[str]:
    """The names of a ClassLabel's numbers, as `datasets` writes them into the schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return [str(name) for name in features[column]["names"]]
    except (KeyError, TypeError, ValueError):
        return []


def picture_in(file: File, line: int, value: Any) -> Picture | Wrong:
    """The picture of a cell: bytes, or {bytes, path} of which one is there."""
    given = value if isinstance(value, dict) else {"bytes": value}
    if isinstance(given.get("bytes"), bytes):
        return Picture(given["bytes"], f"{file.name}/{line}")
    if given.get("path") is None:
        return Wrong("the row has no picture", "add it, or take the row out")
    place = inside(file.path.parent, given["path"])
    return place if isinstance(place, Wrong) else picture_file(place, str(given["path"]))


def beside(columns: Mapping[File, str]) -> list[File]:
    """The files of pictures that rows name and do not hold; `columns` is that of the pictures of each file."""
    found: dict[str, File] = {}
    for file, column in columns.items():
        if not pa.types.is_struct(schema_of(file).field(column).type):
            continue
        for item in rows(file, [column], [column], ROWS):
            value = None if isinstance(item, Fault) else item[1].get(column)
            if value and value.get("bytes") is None and value.get("path") is not None:
                place = inside(file.path.parent, value["path"])
                if isinstance(place, Path) and place.is_file():
                    found[value["path"]] = File(value["path"], place)
    return list(found.values())
