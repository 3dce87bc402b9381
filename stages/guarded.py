"""A collection that is measured and not trained on: its queries with their judgements, and its documents in blocks.

The data set is read twice: once for its ids, judgements and queries, and once for the texts of its documents, of which one
block is held at a time.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from stages.errors import InputError
from stages.intake import Dataset, Intake
from stages.records import Document, Query, Wrong, stable_hash
from stages.registry import OneOf
from stages.settings import Settings
from stages.text import join_title, text_hash, text_hashes

DOCUMENTS_A_QUERY = 10  # documents kept for each query of a limit, as in ingest
_REJECTS = 100_000  # rejected rows held before they are let go; all are counted


class Guarded(Settings):
    """A collection that the model should not forget."""

    dataset: Annotated[Dataset, OneOf("datasets")] = Field(
        description="The data set, by the name of its adapter, and its fields. Each round embeds all of its documents."
    )
    split: Literal["train", "dev", "test"] = Field("test", description="Split of the queries that are measured.")
    prompts: tuple[Annotated[str, Field(pattern=r"\{\}")], ...] = Field(
        (),
        description="Texts with {} in them, in whose place each document is put: its vector is the mean over them. For the classes of "
        "zero-shot classification, with the data set's own prompt as {}. Each costs the encoding of all documents.",
    )
    on_bad_row: Literal["fail", "quarantine"] = Field(
        "fail", description="fail: the first bad row stops the run. quarantine: bad rows are left out and counted."
    )
    missing_judgements_allowed: int = Field(
        0, ge=0, description="Judgements that may name a document or query that is not there; one more fails."
    )


class Asked(NamedTuple):
    """A query that is measured."""

    id: str
    text: str
    prompt: str | None
    relevant: dict[int, int]
    """Relevance by document, all above 0."""
    pixels: int | None = None
    """The hash of its picture; None where it is a text."""


Item = str | bytes
"""What is encoded: a text, or the encoded bytes of a picture."""


@dataclass(frozen=True)
class Collection:
    """What was read of a collection. Documents are numbered in the order in which the data set gives them."""

    source: Guarded
    queries: list[Asked]
    hashes: np.ndarray  # int64 (n,), of the texts or pixels of all documents
    kept: np.ndarray  # bool (n,), documents that are searched
    shown: np.ndarray  # bool (n,), documents that are pictures
    id_bytes: int
    template: str  # how title and text become one text, as in the corpus that is trained on

    @property
    def kinds(self) -> frozenset[str]:
        """What there is to encode: text, picture or both."""
        pictures = self.shown[self.kept].any() or any(query.pixels is not None for query in self.queries)
        texts = not self.shown[self.kept].all() or any(query.pixels is None for query in self.queries)
        return frozenset(name for name, there in (("text", texts), ("picture", pictures)) if there)

    def asked(self, rows: int) -> Iterator[list[Item]]:
        """What is encoded of the queries, in order, in blocks of at most `rows`. Pictures are read again, a block at a time."""
        if all(query.pixels is None for query in self.queries):
            for start in range(0, len(self.queries), rows):
                yield [query.text for query in self.queries[start : start + rows]]
            return
        wanted = {query.id for query in self.queries}
        items: list[Item] = []
        for query in _intake(self.source, self.id_bytes, _silent, wanted).queries():
            if query.id in wanted:
                items.append(query.text if query.picture is None else query.picture.image)
            if len(items) == rows:
                yield items
                items = []
        if items:
            yield items

    def documents(self, rows: int) -> Iterator[tuple[np.ndarray, list[Item]]]:
        """The documents that are searched in blocks of at most `rows`: their numbers int32 (b,) and what is encoded."""
        numbers: list[int] = []
        texts: list[Item] = []
        number = -1
        for number, document in enumerate(_intake(self.source, self.id_bytes, _silent).documents()):
            if number < len(self.kept) and self.kept[number]:
                numbers.append(number)
                text = join_title(document.title, document.text, self.template)
                texts.append(text if document.picture is None else document.picture.image)
            if len(texts) == rows:
                yield np.array(numbers, dtype=np.int32), texts
                numbers, texts = [], []
        if number + 1 != len(self.kept):
            raise InputError(
                "the data set has changed while it was read",
                got=f"{number + 1:,} documents, {len(self.kept):,} before",
                try_="run it again when nothing writes to it",
            )
        if texts:
            yield np.array(numbers, dtype=np.int32), texts


def read(
    source: Guarded, limit: int | None, id_bytes: int, template: str, log: Callable[[str], None]
) -> tuple[Collection, dict[str, int]]:
    """A collection without the texts of its documents, and the counters of its rows.

    With `limit`, at most that many queries, those with the smallest stable hash of their id, the documents relevant to them,
    and others by the smallest hash up to ten times the limit. Raises InputError for what cannot be used.
    """
    measured: set[str] = set()  # ids of queries whose pictures are decoded, known when the judgements are read
    intake = _intake(source, id_bytes, log, measured)
    hashes: list[int] = []
    shown: list[bool] = []
    ids: list[str] = []
    for number, document in enumerate(intake.documents()):
        intake.document_ids.set_last(number)
        shown.append(document.picture is not None)
        text = join_title(document.title, document.text, template)
        hashes.append(text_hash(text) if document.picture is None else document.picture.pixels)
        ids += [document.id] if limit is not None else []
    judged = _judgements(intake, source.split)
    measured.update(judged)
    queries = _queries(intake, judged)
    intake.check_missing()
    if not queries:
        raise InputError(
            f"no query of the split {source.split!r} has a relevant document",
            got=f"splits of the queries: {', '.join(sorted(set(intake.splits.values()))) or 'none'}",
        )
    kept = np.ones(len(hashes), dtype=bool)
    if limit is not None:
        queries, kept = _limited(queries, ids, limit)
    counters = {name: intake.counts[name] for name in ("corpus.rejected", "queries.rejected", "qrels.rejected")}
    for name, count in counters.items():
        if count:
            log(f"{count:,} rows of {name.partition('.')[0]} are rejected")
    counters |= {"documents": int(kept.sum()), "queries": len(queries)}
    return Collection(
        source, queries, np.array(hashes, dtype=np.int64), kept, np.array(shown, dtype=bool), id_bytes, template
    ), counters


def _silent(message: str) -> None:
    """The second reading finds what the first one said."""


def _intake(source: Guarded, id_bytes: int, log: Callable[[str], None], asked: Set[str] = frozenset()) -> Intake:
    """Reads the data set; of queries only the pictures of those that are asked are decoded."""

    def decodes(table: str, item: Document | Query) -> bool:
        return table == "corpus" or (isinstance(item.id, str) and item.id in asked)

    return Intake(
        source.dataset,
        fail=source.on_bad_row == "fail",
        id_bytes=id_bytes,
        missing_allowed=source.missing_judgements_allowed,
        part_rows=_REJECTS,
        log=log,
        decodes=decodes,
    )


Judged = dict[str, dict[int, tuple[int, str, int]]]
"""For each query id, by the number of the document: relevance, file and line."""


def _judgements(intake: Intake, split: str) -> Judged:
    judged: Judged = {}
    for item in intake.judgements():
        number = intake.document_ids.row(item.doc_id)
        if number < 0:
            place = (item.file, item.line, item.query_id)
            intake.take_rowless(number, place, "doc_id", f"the document {item.doc_id!r}")
            continue
        if item.split != split:
            continue
        first = judged.setdefault(item.query_id, {}).setdefault(number, (item.relevance, item.file, item.line))
        if first[0] != item.relevance:
            reason = (
                f"the relevance is {item.relevance}, and for the same document {first[0]} in {first[1]} line {first[2]}"
            )
            place = (item.file, item.line, item.query_id)
            intake.refuse_at("qrels", place, "relevance", Wrong(reason, "keep one of the two"))
        if intake.rejects.full:
            intake.rejects.take()
    return judged


def _queries(intake: Intake, judged: Judged) -> list[Asked]:
    """The queries with a relevant document, in order."""
    queries = []
    for query in intake.queries():
        relevant = {number: gain for number, (gain, _, _) in judged.pop(query.id, {}).items() if gain > 0}
        if relevant:
            pixels = None if query.picture is None else query.picture.pixels
            queries.append(Asked(query.id, query.text, query.prompt, relevant, pixels))
    for key, items in judged.items():
        for _, file, line in items.values():
            intake.take_rowless(intake.query_ids.row(key), (file, line, key), "query_id", f"the query {key!r}")
    return queries


def _limited(queries: list[Asked], ids: list[str], limit: int) -> tuple[list[Asked], np.ndarray]:
    chosen = set(heapq.nsmallest(limit, (query.id for query in queries), key=lambda key: (stable_hash(key), key)))
    queries = [query for query in queries if query.id in chosen]
    kept = np.zeros(len(ids), dtype=bool)
    kept[[number for query in queries for number in query.relevant]] = True
    room = max(0, DOCUMENTS_A_QUERY * limit - int(kept.sum()))
    others = np.flatnonzero(~kept).tolist()
    kept[heapq.nsmallest(room, others, key=lambda number: (stable_hash(ids[number]), ids[number]))] = True
    return queries, kept


def query_hashes(collection: Collection) -> np.ndarray:
    """Hashes of the texts or pixels of the queries: int64 (m,)."""
    texts = text_hashes(query.text for query in collection.queries)
    pixels = [query.pixels for query in collection.queries]
    return np.array([t if p is None else p for t, p in zip(texts.tolist(), pixels, strict=True)], dtype=np.int64)
