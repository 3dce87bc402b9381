"""Rows with a picture in them, as `datasets` stores its Image feature: Parquet or Arrow with a column of {bytes, path}

A folder with a card, a folder of `save_to_disk`, a file, or an id of the hub. Pictures may be bytes, or files beside the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from stages.datasets import _repository as repository
from stages.datasets._captioned import Captioned, Shown
from stages.datasets._guess import Guess
from stages.datasets._helpers import File, digest
from stages.datasets._picture_columns import ROWS, beside, label_names, mapped, picture_in
from stages.datasets._pictures import captions_of
from stages.datasets._tables import columns, kind_of, rows, schema_of
from stages.errors import ConfigError, HardrockError
from stages.records import SPLIT_NAMES, Fault, Note, Wrong
from stages.settings import speed

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
        taken = self._mapped(self._files[0])
        return {"picture": taken["image"], "text": taken.get("caption", "caption"), "id": taken.get("id", "id")}

    def fingerprint(self) -> str:
        """A sha256 over the names and bytes of the files of rows; of pictures beside them, over these as well."""
        return digest([*self._files, *self._beside])

    def locate(self, file: str) -> str:
        return next((str(one.path) for one in self._files if one.name == file), file)

    def shown(self) -> Iterator[Shown | Fault | Note]:
        for split, files in self._splits.items():
            known = SPLIT_NAMES.get(split.lower()) if len(self._splits) > 1 else None
            for file in files:
                taken = self._mapped(file)
                names = label_names(schema_of(file), taken.get("label"))
                wanted = list(taken.values())
                yield Note(f"{file.name}: columns taken: " + ", ".join(f"{k} = {v}" for k, v in taken.items()))
                for item in rows(file, wanted, wanted, ROWS):
                    if isinstance(item, Fault):
                        yield item
                        continue
                    values = {field: item[1].get(column) for field, column in taken.items()}
                    yield self._row((file, known, names), item[0], values)

    def _row(self, place: tuple[File, str | None, list[str]], line: int, values: Mapping[str, Any]) -> Shown | Fault:
        file, split, names = place
        key = values.get("id", f"{file.name}/{line}")
        key = str(key) if isinstance(key, int) and not isinstance(key, bool) else key
        picture = picture_in(file, line, values["image"])
        if isinstance(picture, Wrong):
            return Fault(file.name, line, self._mapped(file)["image"], key if isinstance(key, str) else None, *picture)
        label = values.get("label")
        if isinstance(label, int):
            label = names[label] if 0 <= label < len(names) else str(label)
        return Shown(
            file.name, line, key, picture, captions_of(values.get("caption")), values.get("group"), label, split
        )

    def _mapped(self, file: File) -> dict[str, str]:
        asked = {"image": self.image, "id": self.id, "caption": self.caption, "group": self.group, "label": self.label}
        return mapped(file, asked)

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
        return beside({file: self._mapped(file)["image"] for file in self._files})


def recognise(place: str) -> Guess | None:
    """Rows of which one column holds pictures."""
    if not Path(place).exists():
        return None
    member = ImageRows(path=place)  # type: ignore[call-arg]
    try:
        file = member._files[0]
        taken = member._mapped(file)
        first = next(iter(rows(file, [taken["image"]], [taken["image"]], 1)))
    except (HardrockError, StopIteration, OSError):
        return None
    if isinstance(first, Fault) or not columns(file):
        return None
    return Guess(75, {"path": place}, (f"the column {taken['image']} holds pictures",))
