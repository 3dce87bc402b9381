"""Tevatron's training rows, in its three forms, as JSONL or Parquet.

    passages   {"query_id", "query", "positive_passages": [{"docid", "title", "text"}], "negative_passages": […]}   also RLHN
    ids        {"query_id", "query_text", "positive_document_ids": […], "negative_document_ids": […]}
               and a corpus {"docid", "text", "title"?}: corpus.jsonl beside it, or files in a folder `corpus`
    texts      {"query", "positives": […], "negatives": […]}                          the package of 2021

A corpus that has `document_text`, as the documentation says, instead of `text`, which the loader reads, is understood. Negatives
are documents judged not relevant. Files that name no split, and rows of one split alone, are split by a hash of the query.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from stages.datasets._examples import Columns, Examples
from stages.datasets._guess import Guess
from stages.datasets._helpers import File, digest, missing_key
from stages.datasets._tables import files_at, first_row, rows
from stages.errors import ConfigError, HardrockError, InputError
from stages.records import Document, Fault, Judgement, Note, Query, split_of
from stages.settings import speed

SUFFIXES = (".jsonl", ".json", ".parquet")
_FORMS = {
    "positive_passages": Columns(
        "query", "positive_passages", ("negative_passages",), anchor_id="query_id", nested=True
    ),
    "positive_document_ids": Columns("query_text", "positive_document_ids", ("negative_document_ids",), "query_id"),
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
        if found := [file for file in self._all if not _is_corpus(file.name)]:
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
        found = [file for file in self._all if _is_corpus(file.name)]
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
        if self._form != _IDS:
            yield from super().documents()
            return
        wanted = ("docid", "text", "document_text", "title")
        for file in self._corpus:
            told = False
            for item in rows(file, wanted):
                if isinstance(item, Fault):
                    yield item
                    continue
                line, row = item
                key = "text" if "text" in row or "document_text" not in row else "document_text"
                if key != "text" and not told:
                    told = True
                    yield Note(f"{file.name} has document_text, which Tevatron's loader does not read: taken as text")
                if missing := next((name for name in ("docid", key) if name not in row), None):
                    yield missing_key(file, line, dict(row), missing, "docid")
                else:
                    yield Document(file.name, line, row["docid"], row[key], row.get("title"))

    def queries(self) -> Iterator[Query | Fault | Note]:
        if self._form != _IDS:
            yield from super().queries()
            return
        for file, line, row in self._id_rows():
            if isinstance(row, Fault):
                yield row
            elif missing := next((n for n in ("query_id", "query_text") if n not in row), None):
                yield missing_key(file, line, dict(row), missing, "query_id")
            else:
                yield Query(file.name, line, row["query_id"], row["query_text"])

    def judgements(self) -> Iterator[Judgement | Fault | Note]:
        if self._form != _IDS:
            yield from super().judgements()
            return
        both = 0
        for file, line, row in self._id_rows():
            if isinstance(row, Fault) or not {"query_id", "query_text"} <= row.keys():
                continue  # told among the queries
            name, text = row["query_id"], row["query_text"]
            split = self._split_by_file.get(file.name) or split_of(str(text), self.dev, self.test)
            lists = [row.get(column) or [] for column in (self.columns.positive, *self.columns.negatives)]
            if bad := next(
                (n for n, ids in zip(("positive", "negative"), lists, strict=True) if not isinstance(ids, list)), None
            ):
                yield Fault(file.name, line, f"{bad}_document_ids", str(name), "no list of ids", 'write ["…", "…"]')
                continue
            positives, negatives = lists
            yield from (Judgement(file.name, line, name, key, 1, split) for key in positives)
            both += len(repeated := [key for key in negatives if key in positives])
            yield from (Judgement(file.name, line, name, key, 0, split) for key in negatives if key not in repeated)
        if both:
            yield Note(f"{both} given negatives are positives of the same query too: they are taken as positives")

    def _id_rows(self) -> Iterator[tuple[File, int, Mapping[str, Any] | Fault]]:
        for file in self.files:
            for item in rows(file, self.columns.read):
                yield (file, 0, item) if isinstance(item, Fault) else (file, *item)


def _is_corpus(name: str) -> bool:
    return any(part.lower().startswith(("corpus", "collection")) for part in PurePath(name).parts)


def recognise(place: str) -> Guess | None:
    """Rows with positive_passages or positive_document_ids."""
    if not Path(place).exists():
        return None
    try:
        form = Tevatron(path=place)._form
    except HardrockError:
        return None
    return Guess(50 if form == "positives" else 65, {"path": place}, (f"its first row has {form}",))
