"""Tevatron's training rows, in its three forms, as JSONL or Parquet.

    passages   {"query_id", "query", "positive_passages": [{"docid", "title", "text"}], "negative_passages": […]}   also RLHN
    ids        {"query_id", "query_text", "positive_document_ids": […], "negative_document_ids": […]}
               and a corpus {"docid", "text", "title"?}: corpus.jsonl beside it, or files in a folder `corpus`
    texts      {"query", "positives": […], "negatives": […]}                          the package of 2021

A corpus that has `document_text`, as the documentation says, instead of `text`, which the loader reads, is understood. Negatives
are documents judged not relevant. Files that name no split, and rows of one split alone, are split by a hash of the query.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from stages.datasets import _tevatron_ids as ids
from stages.datasets._examples import Columns, Examples
from stages.datasets._guess import Guess
from stages.datasets._helpers import File, digest
from stages.datasets._tables import files_at, first_row
from stages.errors import ConfigError, HardrockError, InputError
from stages.records import Document, Fault, Judgement, Note, Query, split_of
from stages.settings import speed

SUFFIXES = (".jsonl", ".json", ".parquet")
_FORMS = {
    "positive_passages": Columns(
        "query", "positive_passages", ("negative_passages",), anchor_id="query_id", nested=True
    ),
    "positive_document_ids": ids.COLUMNS,
    "positives": Columns("query", "positives", ("negatives",)),
}
_IDS = "positive_document_ids"


class Tevatron(Examples):
    """Training rows of Tevatron or RLHN, with their corpus where they are rows of ids."""

    path: str = speed(..., "A file, or a folder. Its content is part of a result's identity.")

    @cached_property
    def _all(self) -> list[File]:
        return files_at(self.path, SUFFIXES)

    @cached_property
    def files(self) -> list[File]:
        if found := [file for file in self._all if not ids.is_corpus(file.name)]:
            return found
        raise InputError("there is a corpus and no file of training rows", where=self.path, try_="add train.jsonl")

    @cached_property
    def _form(self) -> str:
        row = first_row(self.files[0])
        if form := next((key for key in _FORMS if key in row), None):
            return form
        got = ", ".join(row) or "no row"
        raise ConfigError(
            f"the rows have none of {', '.join(_FORMS)}", where=str(self.files[0].path), got=got, try_='name = "pairs"'
        )

    @property
    def columns(self) -> Columns:
        return _FORMS[self._form]

    def known_columns(self, file: File) -> list[str]:
        """Each row is checked by itself."""
        return list(self.columns.needed)

    @cached_property
    def _corpus(self) -> list[File]:
        found = [file for file in self._all if ids.is_corpus(file.name)]
        if not found:
            raise InputError("rows of document ids and no corpus", where=self.path,
                             try_="put corpus.jsonl, with docid and text, into the folder and name the folder as path")  # fmt: skip
        return found

    def fingerprint(self) -> str:
        """A sha256 over the bytes of the files."""
        return digest([*self.files, *(self._corpus if self._form == _IDS else ())])

    def locate(self, file: str) -> str:
        return next((str(f.path) for f in self._all if f.name == file), file)

    def documents(self) -> Iterator[Document | Fault | Note]:
        yield from ids.documents(self._corpus) if self._form == _IDS else super().documents()

    def queries(self) -> Iterator[Query | Fault | Note]:
        yield from ids.queries(self.files) if self._form == _IDS else super().queries()

    def judgements(self) -> Iterator[Judgement | Fault | Note]:
        yield from ids.judgements(self.files, self._split_of) if self._form == _IDS else super().judgements()

    def _split_of(self, file: str, text: str) -> str:
        return self._split_by_file.get(file) or split_of(text, self.dev, self.test)


def recognise(place: str) -> Guess | None:
    """Rows with positive_passages or positive_document_ids."""
    if not Path(place).exists():
        return None
    try:
        form = Tevatron(path=place)._form
    except HardrockError:
        return None
    return Guess(50 if form == "positives" else 65, {"path": place}, (f"its first row has {form}",))
