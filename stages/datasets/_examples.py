"""Formats whose row is a query with its positives and negatives: rows of columns to documents, queries and judgements.

Rows with the same query are one query with several positives, and the same text is one document. A cell of positives or
negatives is a text, a list of texts, or passages: objects with `text`, `title` and an id. Given negatives are documents
of the corpus, judged with relevance 0 for their query; where a text is both for one query, it is a positive. Where no id is
given it is made from the text: `q-` or `d-` and 20 hex digits of its hash.
"""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import PurePath
from typing import Any, ClassVar, NamedTuple

from pydantic import Field, model_validator

from stages.datasets._helpers import File, digest
from stages.datasets._tables import columns, rows
from stages.errors import ConfigError, listing, suggestion
from stages.records import (
    SPLIT_NAMES,
    SPLITS,
    Document,
    Fault,
    Judgement,
    Note,
    Query,
    is_blank,
    shown,
    split_of,
    wrong_id,
    wrong_scores,
    wrong_string,
    wrong_text,
)  # fmt: skip
from stages.registry import Member
from stages.text import normalise

PASSAGE_IDS = ("docid", "passage_id", "psg_id", "_id", "id")
"""Keys under which a passage has its id, the first of them that is there."""

_ID_BYTES = 1 << 20  # ids are capped by ingest; here they only have to be ids


class Columns(NamedTuple):
    """Which column is what. `encoded` are those whose lists are written as text: `"['a', 'b']"`."""

    anchor: str
    positive: str
    negatives: tuple[str, ...] = ()
    anchor_id: str | None = None
    positive_id: str | None = None
    split: str | None = None
    prompt: str | None = None
    label: str | None = None
    encoded: frozenset[str] = frozenset()
    nested: bool = False
    """Whether cells of positives and negatives may be objects."""
    sparse: bool = False
    """Whether a row may have no positive."""
    scores: tuple[str | None, ...] = ()
    """The lists of scores, of the positive and of each column of negatives, that are checked though no score is read."""

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that every file has to have."""
        always = (self.anchor, self.anchor_id, self.positive_id, self.split, self.label)
        return tuple(name for name in (*always, None if self.sparse else self.positive) if name is not None)

    @property
    def read(self) -> tuple[str, ...]:
        """Every column that is read."""
        beside = (name for name in (self.prompt, *self.scores) if name)
        return (*self.needed, self.positive, *self.negatives, *beside)


class Passage(NamedTuple):
    id: str
    text: str
    title: str | None
    given: bool  # whether the id is in the data


class Example(NamedTuple):
    """One row of the input, checked."""

    file: str
    line: int
    query_id: str
    anchor: str
    prompt: str | None
    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...]
    split: str


class _CellError(Exception):
    def __init__(self, role: str, column: str, reason: str, mend: str, id: str | None = None) -> None:
        super().__init__(reason)
        self.role, self.column, self.reason, self.mend, self.id = role, column, reason, mend, id


class _Books:
    """Which text each given id stands for: an id that comes back has to stand for the same text."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[bytes, str, int]] = {}

    def enter(self, example: Example, columns: Columns) -> None:
        """Notes the given ids of a row. Raises _CellError, and notes nothing, when one stands for another text."""
        given: list[tuple[str, str, str, str]] = []
        if columns.anchor_id:
            given.append(("query", example.query_id, example.anchor, columns.anchor_id))
        column = columns.positive_id or columns.positive
        for passage in (*example.positives, *example.negatives):
            if passage.given:
                given.append(("document", passage.id, f"{passage.title or ''}\n{passage.text}", column))
        new: dict[tuple[str, str], tuple[bytes, str, int]] = {}
        for role, key, text, column in given:
            content = blake2b(text.encode(), digest_size=16).digest()
            known = self._known.get((role, key)) or new.setdefault((role, key), (content, example.file, example.line))
            if known[0] != content:
                reason = f"the id '{shown(key)}' stands for another text in {known[1]} line {known[2]}"
                raise _CellError(role, column, reason, "give each text its own id")
        self._known.update(new)


class Examples(Member):
    """Base of the formats of such rows. A member says which files there are, and which column of a file is what."""

    dev: float = Field(0.1, ge=0, le=1, description="Share of queries in dev where the data do not give the split.")
    test: float = Field(0.2, ge=0, le=1, description="Share of queries in test where the data do not give the split.")

    column_names: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="after")
    def _shares(self) -> Examples:
        if self.dev + self.test > 1:
            raise ValueError(f"dev and test are shares of one whole: {self.dev} + {self.test} is more than 1")
        return self

    @property
    def files(self) -> list[File]:
        raise NotImplementedError

    @property
    def columns(self) -> Columns:
        raise NotImplementedError

    def notes(self) -> Iterator[Note]:
        """What was taken in a way that a person should know."""
        yield from ()

    def rows(self, file: File) -> Iterator[tuple[int, Mapping[str, Any]] | Fault]:
        """The rows of a file by column."""
        wanted = self.columns
        nested = (wanted.positive, *wanted.negatives) if wanted.nested else ()
        return rows(file, wanted.read, [*nested, *(name for name in (wanted.label, *wanted.scores) if name)])

    def known_columns(self, file: File) -> list[str]:
        """The columns of a file."""
        return columns(file)

    def fingerprint(self) -> str:
        """A sha256 over the bytes of the files."""
        return digest(self.files)

    def locate(self, file: str) -> str:
        return next((str(f.path) for f in self.files if f.name == file), file)

    def documents(self) -> Iterator[Document | Fault | Note]:
        yield from self.notes()
        if self._split_by_file:
            named = ", ".join(f"{name} {split}" for name, split in list(self._split_by_file.items())[:6])
            yield Note(f"splits taken from the files' names: {named}")
        seen: set[str] = set()
        for item in self._examples("document"):
            if isinstance(item, Fault):
                yield item
                continue
            for passage in (*item.positives, *item.negatives):
                if passage.id not in seen:
                    seen.add(passage.id)
                    yield Document(item.file, item.line, passage.id, passage.text, passage.title)

    def queries(self) -> Iterator[Query | Fault | Note]:
        seen: set[str] = set()
        for item in self._examples("query"):
            if isinstance(item, Fault):
                yield item
            elif item.query_id not in seen:
                seen.add(item.query_id)
                yield Query(item.file, item.line, item.query_id, item.anchor, item.prompt)

    def judgements(self) -> Iterator[Judgement | Fault | Note]:
        relevant: set[tuple[str, str]] = set()
        negatives = bool(self.columns.negatives or self.columns.label)
        for item in self._sound():
            for passage in item.positives:
                if negatives:
                    relevant.add((item.query_id, passage.id))
                yield Judgement(item.file, item.line, item.query_id, passage.id, 1, item.split)
        both = 0
        for item in self._sound() if negatives else ():
            for passage in item.negatives:
                if (item.query_id, passage.id) in relevant:
                    both += 1
                else:
                    yield Judgement(item.file, item.line, item.query_id, passage.id, 0, item.split)
        if both:
            yield Note(f"{both} given negatives are positives of the same anchor too: they are taken as positives")

    @cached_property
    def _split_by_file(self) -> dict[str, str]:
        """The split of each file by its name; empty unless every file names one and they are not all the same."""
        found = {file.name: split_in(file.name) for file in self.files}
        named = {name: split for name, split in found.items() if split}
        return named if len(named) == len(found) and len(set(named.values())) > 1 and not self.columns.split else {}

    def _sound(self) -> Iterator[Example]:
        return (item for item in self._examples(None) if isinstance(item, Example))

    def _examples(self, role: str | None) -> Iterator[Example | Fault]:
        """The rows that are sound, and the faults of one role, so that each fault is told once."""
        wanted, books = self.columns, _Books()
        for file in self.files:
            known = self.known_columns(file) if len(self.files) > 1 else wanted.needed
            if lacks := [name for name in wanted.needed if name not in known]:
                got = f"columns: {listing(known)}"
                raise ConfigError(f"there is no column {lacks[0]!r}", where=str(file.path), got=got)
            for item in self.rows(file):
                if isinstance(item, Fault):
                    if role == "document":
                        yield item
                    continue
                line, row = item
                try:
                    example = self._example(file.name, line, row)
                    books.enter(example, wanted)
                    yield example
                except _CellError as bad:
                    if role == bad.role:
                        key = row.get((wanted.anchor_id if role == "query" else wanted.positive_id) or "")
                        known_id = bad.id or (key if isinstance(key, str) else None)
                        yield Fault(file.name, line, bad.column, known_id, bad.reason, bad.mend)

    def _example(self, file: str, line: int, row: Mapping[str, Any]) -> Example:
        wanted = self.columns
        anchor = _cell(row, wanted.anchor, "query")
        _text(anchor, wanted.anchor, "query")
        prompt = row.get(wanted.prompt) if wanted.prompt else None
        if prompt is not None and (wrong := wrong_string(prompt, "a prompt")):
            raise _CellError("query", wanted.prompt or "", *wrong)
        query_id = made_id("q", f"{prompt}\n{anchor}" if prompt else anchor)
        if wanted.anchor_id is not None:
            query_id = _id(_cell(row, wanted.anchor_id, "query"), wanted.anchor_id, "query")
        positives = self._positives(row)
        given = [_passages(row, column, wanted, None) for column in wanted.negatives]
        for found, column in zip((positives, *given), wanted.scores, strict=False):
            value = row.get(column or "")
            if wanted.encoded and isinstance(value, str):
                value = listed(value) or value
            if value is not None and (wrong := wrong_scores(value, len(found))):
                raise _CellError("document", column or "", *wrong, id=query_id)
        negatives = tuple(passage for found in given for passage in found)
        if wanted.label and not _label(row, wanted.label):
            positives, negatives = (), (*positives, *negatives)
        return Example(
            file, line, query_id, anchor, prompt or None, positives, negatives, self._split(file, row, anchor)
        )

    def _positives(self, row: Mapping[str, Any]) -> tuple[Passage, ...]:
        wanted = self.columns
        if not wanted.sparse:
            _cell(row, wanted.positive, "document")
        ids = None if wanted.positive_id is None else _cell(row, wanted.positive_id, "document")
        found = _passages(row, wanted.positive, wanted, ids, empty=wanted.sparse)
        if not found and not wanted.sparse:
            reason = "an empty list where a text belongs"
            raise _CellError("document", wanted.positive, reason, "give it a text, or take the row out")
        return found

    def _split(self, file: str, row: Mapping[str, Any], anchor: str) -> str:
        column = self.columns.split
        if column is None:
            return self._split_by_file.get(file) or split_of(normalise(anchor), self.dev, self.test)
        value = _cell(row, column, "query")
        split = SPLIT_NAMES.get(value.lower()) if isinstance(value, str) else None
        if split is None:
            reason = f"'{shown(value)}' where a split belongs"
            raise _CellError("query", column, reason, f"write one of {', '.join(SPLITS)}")
        return split


def split_in(name: str) -> str | None:
    """The split that a path names, in the file's name or else in a folder's: train.jsonl, msmarco-dev.tsv, test/part-0.arrow."""
    for part in reversed(PurePath(name).parts):
        found = {SPLIT_NAMES[word] for word in re.split(r"[\W_]+", part.lower()) if word in SPLIT_NAMES}
        if len(found) == 1:
            return found.pop()
    return None


def check_columns(asked: Sequence[str | None], known: Sequence[str], where: str) -> None:
    """Raises ConfigError, with a suggestion, when a column that is asked for is not there."""
    for name in asked:
        if name is not None and name not in known:
            raise ConfigError(
                f"there is no column {name!r}", where=where, got=listing(known), try_=suggestion(name, known)
            )


def made_id(letter: str, text: str) -> str:
    """The id of a text that has none."""
    return f"{letter}-{blake2b(text.encode(), digest_size=10).hexdigest()}"


def listed(cell: str) -> list[Any] | None:
    """The list that a text spells out, in Python or JSON; None when it is no list."""
    if not (cell.lstrip().startswith("[") and cell.rstrip().endswith("]")):
        return None
    try:
        value = literal_eval(cell.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _passages(
    row: Mapping[str, Any], column: str, wanted: Columns, ids: Any, *, empty: bool = True
) -> tuple[Passage, ...]:
    """The passages of a cell; with `empty`, none for null, a missing key and an empty text."""
    cell = row.get(column)
    if empty and cell in (None, ""):
        return ()
    if column in wanted.encoded and isinstance(cell, str):
        cell = listed(cell)
        if cell is None:
            raise _CellError("document", column, "a list written as text that cannot be read", 'write it as ["…", "…"]')
    cells = cell if isinstance(cell, list) else [cell]
    if ids is None:
        return tuple(_passage(each, column) for each in cells)
    names = ids if isinstance(ids, list) else [ids]
    column_of_ids = wanted.positive_id or column
    if len(names) != len(cells):
        reason = f"{len(names)} ids for {len(cells)} positives"
        raise _CellError("document", column_of_ids, reason, "give one id for each positive, in the same order")
    found = (_passage(each, column) for each in cells)
    return tuple(
        Passage(_id(name, column_of_ids, "document"), passage.text, passage.title, True)
        for name, passage in zip(names, found, strict=True)
    )


def _passage(cell: Any, column: str) -> Passage:
    title = key = None
    if isinstance(cell, Mapping):
        if "text" not in cell:
            got = ", ".join(shown(name) for name in list(cell)[:8]) or "none"
            raise _CellError(
                "document", column, f"a passage without 'text'; its keys are: {got}", "name the key 'text'"
            )
        title, key = cell.get("title"), next((cell[n] for n in PASSAGE_IDS if cell.get(n) is not None), None)
        if title is not None and (wrong := wrong_string(title, "a title")):
            raise _CellError("document", column, *wrong)
        cell = cell["text"]
    _text(cell, column, "document")
    title = None if title is None or is_blank(title) else title
    if key is None:
        return Passage(made_id("d", f"{title}\n{cell}" if title else cell), cell, title, False)
    return Passage(_id(key, column, "document"), cell, title, True)


def _label(row: Mapping[str, Any], column: str) -> bool:
    value = _cell(row, column, "document")
    if value in (0, 1, "0", "1"):
        return int(value) == 1
    reason = f"the label {shown(value)} is neither 0 nor 1"
    raise _CellError("document", column, reason, "1 is a relevant pair, 0 is not; leave other rows out")


def _cell(row: Mapping[str, Any], column: str, role: str) -> Any:
    try:
        return row[column]
    except KeyError:
        raise _CellError(role, column, f"the key {column!r} is missing", f"name the key {column!r}") from None


def _text(value: Any, column: str, role: str) -> None:
    if wrong := wrong_text(value):
        raise _CellError(role, column, *wrong)


def _id(value: Any, column: str, role: str) -> str:
    if wrong := wrong_id(value, _ID_BYTES):
        raise _CellError(role, column, *wrong)
    return str(value)
