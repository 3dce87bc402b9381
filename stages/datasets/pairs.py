"""Pairs of anchor and positive in CSV, TSV, JSONL or Parquet.

Rows with the same anchor text are one query with several positives, and the same positive text is one document. In JSONL and
Parquet a cell of positives or negatives may be a list of texts. Given negatives are documents that are judged not relevant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import Field, model_validator

from stages.datasets._helpers import File, digest
from stages.datasets._tables import FORMATS, columns, kind_of, rows
from stages.errors import ConfigError, InputError, suggestion
from stages.records import (
    SPLIT_NAMES,
    SPLITS,
    Document,
    Fault,
    Judgement,
    Note,
    Query,
    shown,
    split_of,
    wrong_id,
    wrong_text,
)
from stages.registry import Member
from stages.settings import speed
from stages.text import normalise

ANCHORS = ("anchor", "query", "question", "sentence1", "premise", "instruction", "title")
POSITIVES = (
    "positive", "pos", "answer", "response", "passage", "document", "context", "sentence2", "entailment", "text", "abstract",
)  # fmt: skip
NEGATIVES = ("negative", "neg", "negatives", "contradiction")
LABELS = ("label", "labels", "score", "scores")
_ID_BYTES = 1 << 20  # ids are capped by ingest; here they only have to be ids


class Mapped(NamedTuple):
    """Which column is what."""

    anchor: str
    positive: str
    negatives: tuple[str, ...]


class Pair(NamedTuple):
    """One row of the input, checked."""

    file: str
    line: int
    query_id: str
    anchor: str
    positives: tuple[tuple[str, str], ...]  # (id, text)
    negatives: tuple[tuple[str, str], ...]
    split: str


class _CellError(Exception):
    def __init__(self, role: str, column: str, reason: str, mend: str) -> None:
        super().__init__(reason)
        self.role, self.column, self.reason, self.mend = role, column, reason, mend


class _Books:
    """Which text each given id stands for: an id that comes back has to stand for the same text."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[bytes, str, int]] = {}

    def enter(self, pair: Pair, anchor_id: str | None, positive_id: str | None) -> None:
        """Notes the given ids of a row. Raises _CellError, and notes nothing, when one stands for another text."""
        given = [("query", pair.query_id, pair.anchor, anchor_id)] if anchor_id else []
        if positive_id:
            given += [("document", doc_id, text, positive_id) for doc_id, text in pair.positives]
        new: dict[tuple[str, str], tuple[bytes, str, int]] = {}
        for role, key, text, column in given:
            content = blake2b(text.encode(), digest_size=16).digest()
            known = self._known.get((role, key)) or new.setdefault((role, key), (content, pair.file, pair.line))
            if known[0] != content:
                reason = f"the id '{shown(key)}' stands for another text in {known[1]} line {known[2]}"
                raise _CellError(role, column, reason, "give each text its own id")
        self._known.update(new)


class Pairs(Member):
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
    anchor_id: str | None = Field(None, description="Column of query ids; null makes ids from the texts.")
    positive_id: str | None = Field(None, description="Column of ids of the positives; null makes ids from the texts.")
    split: str | None = Field(
        None, description="Column of train, dev or test; null splits by a stable hash of the anchor's text."
    )
    dev: float = Field(0.1, ge=0, le=1, description="Share of anchors in dev where no column gives the split.")
    test: float = Field(0.2, ge=0, le=1, description="Share of anchors in test where no column gives the split.")

    column_names: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="after")
    def _shares(self) -> Pairs:
        if self.dev + self.test > 1:
            raise ValueError(f"dev and test are shares of one whole: {self.dev} + {self.test} is more than 1")
        return self

    def fingerprint(self) -> str:
        """A sha256 over the bytes of the files."""
        return digest(self._files)

    def locate(self, file: str) -> str:
        return next((str(f.path) for f in self._files if f.name == file), file)

    def documents(self) -> Iterator[Document | Fault | Note]:
        if self.anchor is None or self.positive is None:
            m = self._mapped
            more = f", negatives = {', '.join(m.negatives)}" if m.negatives else ""
            yield Note(f"columns taken: anchor = {m.anchor}, positive = {m.positive}{more}")
        seen: set[str] = set()
        for pair in self._pairs("document"):
            if isinstance(pair, Fault):
                yield pair
                continue
            for doc_id, text in (*pair.positives, *pair.negatives):
                if doc_id not in seen:
                    seen.add(doc_id)
                    yield Document(pair.file, pair.line, doc_id, text)

    def queries(self) -> Iterator[Query | Fault]:
        seen: set[str] = set()
        for pair in self._pairs("query"):
            if isinstance(pair, Fault):
                yield pair
            elif pair.query_id not in seen:
                seen.add(pair.query_id)
                yield Query(pair.file, pair.line, pair.query_id, pair.anchor)

    def judgements(self) -> Iterator[Judgement | Note]:
        relevant: set[tuple[str, str]] = set()
        for pair in self._sound():
            for doc_id, _ in pair.positives:
                if self._mapped.negatives:
                    relevant.add((pair.query_id, doc_id))
                yield Judgement(pair.file, pair.line, pair.query_id, doc_id, 1, pair.split)
        if not self._mapped.negatives:
            return
        both = 0
        for pair in self._sound():
            for doc_id, _ in pair.negatives:
                if (pair.query_id, doc_id) in relevant:
                    both += 1
                else:
                    yield Judgement(pair.file, pair.line, pair.query_id, doc_id, 0, pair.split)
        if both:
            yield Note(f"{both} given negatives are positives of the same anchor too: they are taken as positives")

    @cached_property
    def _files(self) -> list[File]:
        place = Path(self.path)
        if place.is_dir():
            found = [
                File(p.name, p) for p in sorted(place.iterdir()) if p.is_file() and kind_of(p.name) and p.name[0] != "."
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
    def _mapped(self) -> Mapped:
        known = columns(self._files[0])
        where = str(self._files[0].path)
        asked = (self.anchor, self.positive, *(self.negatives or ()), self.anchor_id, self.positive_id, self.split)
        for name in asked:
            if name is not None and name not in known:
                raise ConfigError(
                    f"there is no column {name!r}", where=where, got=", ".join(known), try_=suggestion(name, known)
                )
        if self.anchor is not None and self.positive is not None:
            return Mapped(self.anchor, self.positive, self.negatives or ())
        return self._detected(known, where)

    def _detected(self, known: list[str], where: str) -> Mapped:
        by_name = {name.lower(): name for name in reversed(known)}
        anchor = self.anchor or next(
            (by_name[n] for n in ANCHORS if n in by_name and by_name[n] != self.positive), None
        )
        positive = self.positive or next((by_name[n] for n in POSITIVES if n in by_name and by_name[n] != anchor), None)
        try_ = 'anchor = "COLUMN" and positive = "COLUMN"'
        if anchor is None or positive is None:
            lacks = " and ".join(n for n, c in (("anchor", anchor), ("positive", positive)) if c is None)
            raise ConfigError(
                f"no column is known as {lacks}", where=where, got=f"columns: {', '.join(known)}", try_=try_
            )
        if label := next((by_name[n] for n in LABELS if n in by_name), None):
            raise ConfigError(
                f"a column {label!r} beside {anchor!r} and {positive!r}: not every row may be a positive pair",
                where=where,
                got=f"columns: {', '.join(known)}",
                try_=f"{try_} take every row as a positive pair",
            )
        negatives = self.negatives
        if negatives is None:
            negatives = () if self.anchor or self.positive else tuple(n for n in known if _is_negative(n))
        return Mapped(anchor, positive, negatives)

    def _pairs(self, role: str | None) -> Iterator[Pair | Fault]:
        """The rows that are sound, and the faults of one role, so that each fault is told once."""
        needed = [
            name
            for name in (self._mapped.anchor, self._mapped.positive, self.anchor_id, self.positive_id, self.split)
            if name is not None
        ]
        books = _Books()
        for file in self._files:
            if lacks := [name for name in needed if name not in columns(file)]:
                got = f"columns: {', '.join(columns(file))}"
                raise ConfigError(f"there is no column {lacks[0]!r}", where=str(file.path), got=got)
            for item in rows(file, [*needed, *self._mapped.negatives]):
                if isinstance(item, Fault):
                    if role == "document":
                        yield item
                    continue
                line, row = item
                try:
                    pair = self._pair(file.name, line, row)
                    books.enter(pair, self.anchor_id, self.positive_id)
                    yield pair
                except _CellError as bad:
                    if role == bad.role:
                        key = row.get(self.anchor_id or "") if role == "query" else row.get(self.positive_id or "")
                        known = key if isinstance(key, str) else None
                        yield Fault(file.name, line, bad.column, known, bad.reason, bad.mend)

    def _sound(self) -> Iterator[Pair]:
        return (pair for pair in self._pairs(None) if isinstance(pair, Pair))

    def _pair(self, file: str, line: int, row: Mapping[str, Any]) -> Pair:
        mapped = self._mapped
        anchor = _cell(row, mapped.anchor, "query")
        _text(anchor, mapped.anchor, "query")
        query_id = _named("q", anchor)
        if self.anchor_id is not None:
            query_id = _id(_cell(row, self.anchor_id, "query"), self.anchor_id, "query")
        texts = _texts(_cell(row, mapped.positive, "document"), mapped.positive)
        if not texts:
            reason = "an empty list where a text belongs"
            raise _CellError("document", mapped.positive, reason, "give it a text, or take the row out")
        positives, negatives = self._named_positives(row, texts), self._negatives(row)
        return Pair(file, line, query_id, anchor, positives, negatives, self._split_of(row, anchor))

    def _named_positives(self, row: Mapping[str, Any], texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
        if self.positive_id is None:
            return tuple((_named("d", text), text) for text in texts)
        cell = _cell(row, self.positive_id, "document")
        ids = cell if isinstance(cell, list) else [cell]
        if len(ids) != len(texts):
            reason = f"{len(ids)} ids for {len(texts)} positives"
            raise _CellError("document", self.positive_id, reason, "give one id for each positive, in the same order")
        return tuple((_id(i, self.positive_id, "document"), text) for i, text in zip(ids, texts, strict=True))

    def _negatives(self, row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        """The given negatives; null, a missing key, an empty cell and an empty list are none."""
        found: list[tuple[str, str]] = []
        for column in self._mapped.negatives:
            if (cell := row.get(column)) not in (None, ""):
                found.extend((_named("d", text), text) for text in _texts(cell, column))
        return tuple(found)

    def _split_of(self, row: Mapping[str, Any], anchor: str) -> str:
        if self.split is None:
            return split_of(normalise(anchor), self.dev, self.test)
        value = _cell(row, self.split, "query")
        split = SPLIT_NAMES.get(value.lower()) if isinstance(value, str) else None
        if split is None:
            raise _CellError(
                "query", self.split, f"'{shown(value)}' where a split belongs", f"write one of {', '.join(SPLITS)}"
            )
        return split


def _is_negative(column: str) -> bool:
    name = column.lower()
    return name in NEGATIVES or (name.startswith("negative_") and name.removeprefix("negative_").isdecimal())


def _named(letter: str, text: str) -> str:
    return f"{letter}-{blake2b(text.encode(), digest_size=10).hexdigest()}"


def _cell(row: Mapping[str, Any], column: str, role: str) -> Any:
    try:
        return row[column]
    except KeyError:
        raise _CellError(role, column, f"the key {column!r} is missing", f"name the key {column!r}") from None


def _text(value: Any, column: str, role: str) -> None:
    if wrong := wrong_text(value):
        raise _CellError(role, column, *wrong)


def _texts(cell: Any, column: str) -> list[str]:
    texts = cell if isinstance(cell, list) else [cell]
    for text in texts:
        _text(text, column, "document")
    return texts


def _id(value: Any, column: str, role: str) -> str:
    if wrong := wrong_id(value, _ID_BYTES):
        raise _CellError(role, column, *wrong)
    return str(value)
