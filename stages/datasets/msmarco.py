"""MS MARCO's TSV files in a folder, without header or quoting, told by their names; each may be compressed with gzip.

    collection*.tsv            pid, text                  msmarco-docs.tsv          docid, url, title, body
    queries*.tsv               qid, text                  qrels*.tsv, *qrels.tsv    qid 0 pid relevance, any white space
    qidpidtriples*.tsv         qid, pid, pid              with `triples`: a positive and a negative
    triples*.tsv               texts of query, positive, negative: read where there is no collection

Splits are those that the names of the qrels say. Negatives of triples are judged not relevant, unless they are positives of the
same query. `top1000*` is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from stages.datasets import _qrels
from stages.datasets._examples import Columns, Examples, split_in
from stages.datasets._guess import Guess
from stages.datasets._helpers import File, digest
from stages.datasets._tables import files_at, tab_lines
from stages.errors import HardrockError, InputError
from stages.records import Document, Fault, Judgement, Note, Query, split_of
from stages.settings import speed

_NAMES = (
    ("ids", r"qidpidtriples"),
    ("top", r"top1000|top100\b"),
    ("qrels", r"qrels"),
    ("queries", r"quer(y|ies)"),
    ("triples", r"triples"),
    ("docs", r"msmarco-docs|^docs"),
    ("collection", r"collection|^corpus"),
)
_MOJIBAKE = re.compile("[\x80-\xff]{2,}")


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
    def _found(self) -> dict[str, list[File]]:
        found: dict[str, list[File]] = {kind: [] for kind, _ in _NAMES}
        for file in files_at(self.path, (".tsv", ".txt")):
            if kind := next((kind for kind, name in _NAMES if re.search(name, Path(file.name).name.lower())), None):
                found[kind].append(file)
        return found

    def _need(self, kind: str, what: str) -> list[File]:
        if not self._found[kind]:
            got = ", ".join(file.name for files in self._found.values() for file in files) or "none of its files"
            raise InputError(
                f"the data set has no {what}", where=self.path, got=got, try_="add it under its usual name"
            )
        return self._found[kind]

    @property
    def _by_ids(self) -> bool:
        return bool(self._found["collection"] or self._found["docs"])

    @cached_property
    def _qrels(self) -> dict[File, str | None]:
        return _qrels.by_split(self._need("qrels", "qrels*.tsv"), self.qrels, self.path)

    @cached_property
    def files(self) -> list[File]:
        if not self._by_ids:
            return self._need("triples", "collection*.tsv, msmarco-docs.tsv or triples*.tsv")
        found = self._found
        triples = found["ids"] if self.triples else []
        return [*found["collection"], *found["docs"], *self._need("queries", "queries*.tsv"), *self._qrels, *triples]

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
        for file in (*self._found["top"], *([] if self.triples or not self._by_ids else self._found["ids"])):
            yield Note(f"{file.name} is not read" + ("" if file in self._found["top"] else "; triples = true reads it"))
        if not self._by_ids:
            yield from super().documents()
            return
        for kind, width, what in (("collection", 2, "pid and text"), ("docs", 4, "docid, url, title and body")):
            for file in self._found[kind]:
                for item in tab_lines(file, (width,), what):
                    if isinstance(item, Fault):
                        yield item
                    else:
                        title = self._text(item[1][2]) if width == 4 else None
                        yield Document(file.name, item[0], item[1][0], self._text(item[1][-1]), title)

    def queries(self) -> Iterator[Query | Fault | Note]:
        if not self._by_ids:
            yield from super().queries()
            return
        seen: dict[str, str] = {}
        several = len(self._found["queries"]) > 1
        for file in self._need("queries", "queries*.tsv"):
            for item in tab_lines(file, (2,), "qid and text"):
                if isinstance(item, Fault):
                    yield item
                    continue
                key, text = item[1]
                known = seen.get(key) if several else None
                if known is None:
                    if several:
                        seen[key] = text
                    yield Query(file.name, item[0], key, self._text(text))
                elif known != text:
                    reason = "the id stands for another text in an earlier file of queries"
                    yield Fault(file.name, item[0], "qid", key, reason, "give each text its own id")

    def judgements(self) -> Iterator[Judgement | Fault | Note]:
        if not self._by_ids:
            yield from super().judgements()
            return
        relevant: set[tuple[str, str]] = set()
        splits: dict[str, str] = {}
        for file, split in self._qrels.items():
            for item in _qrels.judgements(file, split, self.dev, self.test):
                if self.triples and isinstance(item, Judgement):
                    splits[item.query_id] = item.split
                    if item.relevance > 0:
                        relevant.add((item.query_id, item.doc_id))
                yield item
        if self.triples:
            yield from self._triples(relevant, splits)

    def _triples(self, relevant: set[tuple[str, str]], splits: dict[str, str]) -> Iterator[Judgement | Fault]:
        for sign in (1, 0):
            for file in self._found["ids"]:
                for item in tab_lines(file, (3,), "qid, pid of the positive and pid of the negative"):
                    if isinstance(item, Fault):
                        yield from [item] if sign else []
                        continue
                    query_id, positive, negative = item[1]
                    split = splits.setdefault(query_id, split_in(file.name) or split_of(query_id, self.dev, self.test))
                    key = (query_id, positive if sign else negative)
                    if sign:
                        relevant.add(key)
                    if sign or key not in relevant:
                        yield Judgement(file.name, item[0], *key, sign, split)

    def _text(self, text: str) -> str:
        return _MOJIBAKE.sub(_mended, text) if self.fix_encoding else text

    def fingerprint(self) -> str:
        """A sha256 over the bytes of the files that are read."""
        return digest(self.files)


def _mended(found: re.Match[str]) -> str:
    try:
        return found[0].encode("latin-1").decode()
    except UnicodeDecodeError:
        return found[0]


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
