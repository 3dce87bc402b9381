"""Pairs, triplets and n-tuples in CSV, TSV, JSONL or Parquet, by their columns.

Rows with the same anchor text are one query with several positives, and the same positive text is one document. In JSONL and
Parquet a cell of positives or negatives may be a list of texts. Given negatives are documents that are judged not relevant,
and a column of labels says of each pair whether it is relevant. Scores beside negatives, such as a teacher's, are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from pydantic import Field

from stages.datasets._columns import Asked, detect, says, scores
from stages.datasets._examples import Columns, Examples, check_columns
from stages.datasets._guess import Guess
from stages.datasets._helpers import File
from stages.datasets._tables import FORMATS, columns, kind_of
from stages.errors import HardrockError, InputError
from stages.records import Note
from stages.settings import speed


class Pairs(Examples):
    """Anchor and positive in two columns of one file, or of all files of a folder.

    Without columns for ids, an id is made from the text: `q-` or `d-` and 20 hex digits of its hash.
    """

    path: str = speed(
        ..., "A file, or a folder of files: .csv, .tsv, .jsonl or .parquet. Its content is part of a result's identity."
    )
    anchor: str | None = Field(None, description="Column of queries; null looks for a known name.")
    positive: str | None = Field(None, description="Column of relevant texts; null looks for a known name.")
    negatives: tuple[str, ...] | None = Field(
        None,
        description="Columns of texts judged not relevant; null looks for known names where anchor and positive are null too.",
    )
    label: str | None = Field(
        None,
        description="Column of 0 or 1: with 0 the text in `positive` is judged not relevant; null takes every pair.",
    )
    anchor_id: str | None = Field(None, description="Column of query ids; null makes ids from the texts.")
    positive_id: str | None = Field(None, description="Column of ids of the positives; null makes ids from the texts.")
    split: str | None = Field(
        None,
        description="Column of train, dev or test; null takes it from the files' names where they name more than one, "
        "and else from a stable hash of the anchor's text.",
    )

    def notes(self) -> Iterator[Note]:
        """The columns that were taken by their names, and the scores that are left."""
        if self.anchor is None or self.positive is None:
            yield Note(says(self.columns))
        if self.columns.negatives and (left := [n for n in scores(columns(self.files[0])) if n != self.label]):
            yield Note(f"{', '.join(left)}: not read; a teacher's scores are made by the stage teach")

    @cached_property
    def files(self) -> list[File]:
        place = Path(self.path)
        if place.is_dir():
            found = [
                File(p.name, p)
                for p in sorted(place.iterdir())
                if not p.is_dir() and kind_of(p.name) and p.name[0] != "."
            ]
        else:
            found = [File(place.name, place)] if place.exists() and kind_of(place.name) else []
        if not found:
            raise InputError(
                "no file of pairs that can be read" if place.exists() else "the data set is not there",
                where=str(place),
                try_=f"a file, or a folder of files, that end in {', '.join(FORMATS)}",
            )
        if len(kinds := {kind_of(f.name) for f in found}) > 1:
            got = ", ".join(sorted(k for k in kinds if k))
            raise InputError(
                "files of several formats in one folder", where=str(place), got=got, try_="name one file as path"
            )
        return found

    @cached_property
    def columns(self) -> Columns:
        known, where = columns(self.files[0]), str(self.files[0].path)
        named = (self.anchor, self.positive, *(self.negatives or ()), self.label)
        check_columns((*named, self.anchor_id, self.positive_id, self.split), known, where)
        found = detect(Asked(self.anchor, self.positive, self.negatives, self.label), known, where)
        return found._replace(anchor_id=self.anchor_id, positive_id=self.positive_id, split=self.split)


def recognise(place: str) -> Guess | None:
    """Files with a column for queries and one for what is relevant to them."""
    if not Path(place).exists():
        return None
    try:
        found = Pairs(path=place)
        known = found.columns
    except HardrockError as error:
        return Guess(1, {"path": place}, unsure=(str(error),)) if Path(place).is_file() and kind_of(place) else None
    kind = kind_of(found.files[0].name)
    return Guess(40, {"path": place}, (f"{len(found.files)} {kind} file(s); {says(known)}",))
