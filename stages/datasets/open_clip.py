"""A table of pictures and captions as open_clip's CsvDataset reads it: TSV or CSV with the columns `filepath` and `title`

A picture that several rows name has several captions. Paths are relative to one folder; captions stay as they stand there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from stages.datasets._captioned import Captioned, Shown
from stages.datasets._examples import check_columns
from stages.datasets._guess import Guess
from stages.datasets._helpers import File, digest
from stages.datasets._pictures import captions_of, inside, picture_file, split_in
from stages.datasets._tables import columns, files_at, rows
from stages.errors import HardrockError
from stages.records import Fault, Note, Wrong
from stages.settings import speed

SUFFIXES = (".tsv", ".csv")


class OpenClip(Captioned):
    """Rows of a picture's file and a caption. A picture's id is its path."""

    path: str = speed(..., "The table. Its content and that of the pictures are part of a result's identity.")
    folder: str | None = speed(None, "The folder that paths are relative to; null: the table's own.")
    image_key: str = Field("filepath", description="Column of paths, as open_clip's `--csv-img-key`.")
    caption_key: str = Field("title", description="Column of captions, as open_clip's `--csv-caption-key`.")

    @property
    def column_names(self) -> Mapping[str, str]:  # type: ignore[override]
        return {"id": self.image_key, "picture": self.image_key, "text": self.caption_key}

    def fingerprint(self) -> str:
        """A sha256 over the names and bytes of the table and of the pictures that it names."""
        found = {row[self.image_key]: self._place(row) for _, row in self._rows() if isinstance(row, Mapping)}
        there = [File(name, place) for name, place in found.items() if isinstance(place, Path) and place.is_file()]
        return digest([self._table, *there])

    def locate(self, file: str) -> str:
        return str(self._table.path if file == self._table.name else self._folder / file)

    def shown(self) -> Iterator[Shown | Fault | Note]:
        for line, row in self._rows():
            if isinstance(row, Fault):
                yield row
                continue
            name, place = row[self.image_key], self._place(row)
            if isinstance(place, Wrong):
                yield Fault(self._table.name, line, self.image_key, name or None, *place)
            else:
                captions = captions_of(row[self.caption_key])
                split = split_in(name)[0]
                yield Shown(self._table.name, line, name, picture_file(place, name), captions, split=split)

    def _rows(self) -> Iterator[tuple[int, Mapping[str, Any] | Fault]]:
        check_columns((self.image_key, self.caption_key), columns(self._table), str(self._table.path))
        for item in rows(self._table, (self.image_key, self.caption_key)):
            yield (item.line or 0, item) if isinstance(item, Fault) else item

    def _place(self, row: Mapping[str, Any]) -> Path | Wrong:
        return inside(self._folder, row[self.image_key])

    @cached_property
    def _table(self) -> File:
        return files_at(self.path, SUFFIXES)[0]

    @property
    def _folder(self) -> Path:
        return Path(self.folder) if self.folder is not None else self._table.path.parent


def recognise(place: str) -> Guess | None:
    """A table with filepath and title whose first picture is in its folder, or in the one above it."""
    if not Path(place).is_file():
        return None
    try:
        table = OpenClip(path=place)  # type: ignore[call-arg]
        if not {table.image_key, table.caption_key} <= set(columns(table._table)):
            return None
        first = next((row[table.image_key] for _, row in table._rows() if isinstance(row, Mapping)), "")
    except HardrockError:
        return None
    why = "its columns are filepath and title"
    for folder in (table._folder, table._folder.resolve().parent):
        found = inside(folder, first)
        if isinstance(found, Path) and found.is_file():
            given = {} if folder == table._folder else {"folder": str(folder)}
            return Guess(80, {"path": place, **given}, (f"{why}; pictures are in {folder}",))
    return Guess(45, {"path": place}, (why,), ("folder: where its paths begin",))
