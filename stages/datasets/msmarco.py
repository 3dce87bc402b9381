"""MS MARCO's TSV files in a folder, without header or quoting, told by their names; each may be compressed with gzip.

    collection*.tsv            pid, text                  msmarco-docs.tsv          docid, url, title, body
    queries*.tsv               qid, text                  qrels*.tsv, *qrels.tsv    qid 0 pid relevance, any white space
    qidpidtriples*.tsv         qid, pid, pid              with `triples`: a positive and a negative
    triples*.tsv               texts of query, positive, negative: read where there is no collection

Splits are those that the names of the qrels say. Negatives of triples are judged not relevant, unless they are positives of the
same query. `top1000*` is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from stages.datasets import _qrels
from stages.datasets._examples import Columns, Examples
from stages.datasets._guess import Guess
from stages.datasets._helpers import File, digest
from stages.datasets._msmarco_files import MsmarcoFiles, documents, judgements, mended, queries
from stages.datasets._tables import tab_lines
from stages.errors import HardrockError
from stages.records import Document, Fault, Judgement, Note, Query
from stages.settings import speed


class Msmarco(Examples):
    """The passage or the document collection, or triples of texts."""

    path: str = speed(..., "The folder. Its content is part of a result's identity, its place is not.")
    qrels: tuple[str, ...] = Field((), description="Files of qrels to read; empty: all of them, one a split.")
    triples: bool = Field(False, description="Whether qidpidtriples are read too. Their positives are held in memory.")
    fix_encoding: bool = Field(
        False,
        description="Mends UTF-8 that was read as Latin-1 and written as UTF-8 again, as in the official passages.",
    )

    column_names: ClassVar[Mapping[str, str]] = {}

    @cached_property
    def _folder(self) -> MsmarcoFiles:
        return MsmarcoFiles(self.path)

    @property
    def _by_ids(self) -> bool:
        return bool(self._folder.by_kind["collection"] or self._folder.by_kind["docs"])

    @cached_property
    def _qrels(self) -> dict[File, str | None]:
        return _qrels.by_split(self._folder.need("qrels", "qrels*.tsv"), self.qrels, self.path)

    @cached_property
    def files(self) -> list[File]:
        if not self._by_ids:
            return self._folder.need("triples", "collection*.tsv, msmarco-docs.tsv or triples*.tsv")
        found, queries = self._folder.by_kind, self._folder.need("queries", "queries*.tsv")
        ids = found["ids"] if self.triples else []
        return [*found["collection"], *found["docs"], *queries, *self._qrels, *ids]

    @property
    def columns(self) -> Columns:
        return Columns("query", "positive", ("negative",))

    def rows(self, file: File) -> Iterator[tuple[int, Mapping[str, Any]] | Fault]:
        for item in tab_lines(file, (3,), "query, positive and negative"):
            names = ("query", "positive", "negative")
            yield (
                item if isinstance(item, Fault) else (item[0], dict(zip(names, map(self._text, item[1]), strict=True)))
            )

    def known_columns(self, file: File) -> list[str]:
        """There is no header."""
        return list(self.columns.needed)

    def documents(self) -> Iterator[Document | Fault | Note]:
        for file in self._folder.by_kind["top"]:
            yield Note(f"{file.name} is not read")
        for file in self._folder.by_kind["ids"] if self._by_ids and not self.triples else ():
            yield Note(f"{file.name} is not read; triples = true reads it")
        if not self._by_ids:
            yield from super().documents()
            return
        for kind, width in (("collection", 2), ("docs", 4)):
            for file in self._folder.by_kind[kind]:
                yield from documents(file, width, self._text)

    def queries(self) -> Iterator[Query | Fault | Note]:
        if not self._by_ids:
            yield from super().queries()
            return
        yield from queries(self._folder.need("queries", "queries*.tsv"), self._text)

    def judgements(self) -> Iterator[Judgement | Fault | Note]:
        if not self._by_ids:
            yield from super().judgements()
            return
        ids = self._folder.by_kind["ids"] if self.triples else []
        yield from judgements(self._qrels, ids, self.dev, self.test)

    def _text(self, text: str) -> str:
        return mended(text) if self.fix_encoding else text

    def fingerprint(self) -> str:
        """A sha256 over the bytes of the files that are read."""
        return digest(self.files)


def recognise(place: str) -> Guess | None:
    """Files with MS MARCO's names."""
    if not Path(place).is_dir():
        return None
    try:
        member = Msmarco(path=place)
        files = [file.name for file in member.files]
    except HardrockError:
        return None
    unsure = () if member._by_ids else ("whether triples*.tsv holds texts and not ids",)
    return Guess(80 if member._by_ids else 55, {"path": place}, (f"files {', '.join(files[:8])}",), unsure)
