"""Checks the rows of a data set, applies the policy on bad rows, and keeps count of every row.

Rows come in as records of `stages.records`, and leave checked; a bad row stops everything or becomes a row of `rejects`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol, TypeVar, runtime_checkable

import pyarrow as pa

from stages.errors import HardrockError, InputError
from stages.imaging import Content, Limits, prove
from stages.records import (
    SPLITS,
    Document,
    Fault,
    Judgement,
    Note,
    Query,
    Wrong,
    is_blank,
    shown,
    wrong_id,
    wrong_relevance,
    wrong_string,
    wrong_text,
)  # fmt: skip
from stages.schemas import REJECTS
from stages.spec import Context
from stages.workers import Workers

BEYOND, REJECTED, MISSING = -1, -2, -3  # instead of a row: left out, rejected, not there
_LISTED = 5  # faults that are listed where one message stands for many
_PART_CHARACTERS = 64 << 20  # keeps row groups below 128 MB
LIMITS = Limits(bytes=32 << 20, pixels=50_000_000)

Record = TypeVar("Record", Document, Query)


class Dataset(Protocol):
    """An adapter: it reads one format and yields its rows in order, unchecked, as often as it is asked.

    A row that cannot be made into a record is yielded as a Fault. Nothing is held that grows with the texts.
    """

    @property
    def name(self) -> str: ...

    @property
    def column_names(self) -> Mapping[str, str]:
        """What the input calls a field of a record, where the names differ: {"id": "_id"}."""
        ...

    def fingerprint(self) -> str:
        """A hash over the bytes of the input alone: neither its place nor its time counts. Computed at every start."""
        ...

    def locate(self, file: str) -> str:
        """The path of a file that a record names."""
        ...

    def documents(self) -> Iterator[Document | Fault | Note]: ...

    def queries(self) -> Iterator[Query | Fault | Note]: ...

    def judgements(self) -> Iterator[Judgement | Fault | Note]: ...


class Opened(Dataset, Protocol):
    """A data set that was opened. `counts` become counters of ingest, once everything is read."""

    @property
    def counts(self) -> Mapping[str, int]: ...


@runtime_checkable
class Opening(Protocol):
    """An adapter that needs more than its input: a model, or answers that are kept. It is opened, and that is then read."""

    @property
    def name(self) -> str: ...

    def fingerprint(self) -> str: ...

    def open(self, context: Context) -> Opened: ...


class Ids:
    """The ids of one table: where each stands in the input, and its row.

    An id of n bytes takes n + 20 bytes, and 6 to 12 of slots.
    """

    def __init__(self) -> None:
        self._text = bytearray()  # the ids in the order of reading, in UTF-8, one after the other
        self._ends = array("q")
        self._rows = array("i")
        self._lines = array("q")
        self._slots = array("i", [-1]) * 1024  # open addressing with linear probing: number of an id by its hash
        self._files: list[tuple[int, str]] = []  # the number of the first id of each run of one file
        self.rejected: set[str] = set()

    def add(self, key: str, file: str, line: int) -> str | None:
        """Takes in an id. When it is known already, returns where it stands."""
        content = key.encode("utf-8", "surrogatepass")
        slot = self._slot(content)
        number = self._slots[slot]
        if number >= 0:
            return f"{self._files[bisect_right(self._files, number, key=lambda run: run[0]) - 1][1]} line {self._lines[number]}"
        number = len(self._rows)
        self._slots[slot] = number
        self._text += content
        self._ends.append(len(self._text))
        self._rows.append(BEYOND)
        self._lines.append(line)
        if not self._files or self._files[-1][1] != file:
            self._files.append((number, file))
        if 3 * number > 2 * len(self._slots):
            self._grow()
        return None

    def set_last(self, row: int) -> None:
        """Gives the id that was added last its row; an id without one is BEYOND."""
        self._rows[-1] = row

    def row(self, key: str) -> int:
        """The row of an id, or BEYOND, REJECTED or MISSING."""
        number = self._slots[self._slot(key.encode("utf-8", "surrogatepass"))]
        if number >= 0:
            return self._rows[number]
        return REJECTED if key in self.rejected else MISSING

    def _slot(self, content: bytes) -> int:
        """The slot of an id, or the empty one that would be its own."""
        slots, ends, mask = self._slots, self._ends, len(self._slots) - 1
        slot = hash(content) & mask
        while (number := slots[slot]) >= 0:
            start = ends[number - 1] if number else 0
            if ends[number] - start == len(content) and self._text[start : ends[number]] == content:
                return slot
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        size = 2 * len(self._slots)
        self._slots = slots = array("i", [-1]) * size
        text, start, mask = memoryview(self._text), 0, size - 1
        for number, end in enumerate(self._ends):
            slot = hash(text[start:end].tobytes()) & mask
            while slots[slot] >= 0:
                slot = (slot + 1) & mask
            slots[slot] = number
            start = end
        text.release()


class Buffer:
    """Rows of a table until there are enough for a part."""

    def __init__(self, schema: pa.Schema, part_rows: int) -> None:
        self._schema, self._part_rows = schema, part_rows
        self._columns: list[list[Any]] = [[] for _ in schema]
        self._characters = 0

    def add(self, *values: Any, characters: int = 0) -> None:
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)
        self._characters += characters

    def __len__(self) -> int:
        return len(self._columns[0])

    @property
    def full(self) -> bool:
        return len(self) >= self._part_rows or self._characters >= _PART_CHARACTERS

    def take(self) -> pa.Table:
        """The rows so far; the buffer is empty afterwards."""
        arrays = [pa.array(column, field.type) for column, field in zip(self._columns, self._schema, strict=True)]
        self._columns, self._characters = [[] for _ in self._schema], 0
        return pa.table(arrays, schema=self._schema)


class Intake:
    """One reading of a data set. With `fail`, the first bad row raises InputError; else it becomes a row of `rejects`."""

    def __init__(
        self,
        dataset: Dataset,
        *,
        fail: bool,
        id_bytes: int,
        missing_allowed: int,
        part_rows: int,
        log: Callable[[str], None],
        limits: Limits = LIMITS,
        workers: int | None = None,
        decodes: Callable[[str, Document | Query], bool] = lambda table, item: True,
    ) -> None:
        """`decodes` says of a row of corpus or queries whether its picture is wanted; others are handed on as they are."""
        self._decodes = decodes
        self._prove, self._workers = partial(prove, limits=limits), Workers(workers)
        self._dataset, self._fail, self._id_bytes, self._missing_allowed = dataset, fail, id_bytes, missing_allowed
        self._log = log
        self._missing: list[str] = []
        self.counts: Counter[str] = Counter()
        self.rejects = Buffer(REJECTS, part_rows)
        self.document_ids, self.query_ids = Ids(), Ids()
        self._first: dict[str, Fault] = {}  # that was rejected, of each table
        self.splits: dict[str, str] = {}  # of each query id that a judgement names

    def documents(self) -> Iterator[Document]:
        """The documents that are sound, in order; their ids are unique. A picture that is wanted is a `stages.imaging.Proved` by then."""
        return self._checked("corpus", self._dataset.documents(), self._document_fault, self.document_ids)

    def queries(self) -> Iterator[Query]:
        """The queries that are sound, in order; their ids are unique. A picture that is wanted is a `stages.imaging.Proved` by then."""
        return self._checked("queries", self._dataset.queries(), self._query_fault, self.query_ids)

    def judgements(self) -> Iterator[Judgement]:
        """The judgements whose fields are sound, in order, each query in one split. Their ids are not looked up."""
        read = 0
        splits = self.splits
        for item in self._dataset.judgements():
            if type(item) is Note:
                self._log(item.message)
                continue
            read += 1
            if type(item) is Judgement:
                fault = self._judgement_fault(item)
                if fault is None and splits.setdefault(item.query_id, item.split) != item.split:
                    reason = f"the query has judgements in two splits, {splits[item.query_id]} and {item.split}"
                    mend = "give each query one split: take it out of one, or read one of them alone"
                    fault = self._fault(item, "query_id", item.query_id, Wrong(reason, mend))
            elif isinstance(item, Fault):
                fault = item
            if fault is None:
                yield item  # type: ignore[misc]
            else:
                self.refuse("qrels", fault)
        self.counts["qrels.read"] += read

    def _checked(
        self, table: str, records: Iterator[Record | Fault | Note], check: Callable[[Any], Fault | None], ids: Ids
    ) -> Iterator[Record]:
        read = 0
        twice: list[str] = []
        for item, proof in self._workers.beside(records, partial(self._content, table), self._prove):
            if isinstance(item, Note):
                self._log(item.message)
                continue
            read += 1
            if isinstance(item, Fault):
                self._reject(table, item, ids)
                continue
            if fault := check(item):
                self._reject(table, fault, ids)
            elif isinstance(proof, Wrong):
                self._reject(table, self._picture_fault(item, proof), ids)
            elif earlier := ids.add(item.id, item.file, item.line):
                if not self._fail:
                    wrong = Wrong(f"the id is there already, in {earlier}", "give each row its own id")
                    self.refuse(table, self._fault(item, "id", item.id, wrong))
                    continue
                twice.append(f"'{shown(item.id)}' in {earlier} and in {self._locate(item.file)} line {item.line}")
                if len(twice) == _LISTED:
                    break
            else:
                yield item if proof is None else item._replace(picture=proof._replace(name=item.picture.name))
        self._workers.close()
        self.counts[f"{table}.read"] += read
        if twice:
            raise InputError(
                f"{table}: ids that occur more than once",
                where=f"column {self._column('id')!r}, id " + "; ".join(twice),
                try_='give each row its own id, or keep the first of each with on_bad_row = "quarantine"',
            )

    def _document_fault(self, document: Document) -> Fault | None:
        if wrong := wrong_id(document.id, self._id_bytes):
            return self._fault(document, "id", document.id, wrong)
        for name, value in (("title", document.title), ("group", document.group), ("label", document.label)):
            if value is not None and (wrong := wrong_string(value, f"a {name}")):
                return self._fault(document, name, document.id, wrong)
        if document.picture is not None:
            wrong = wrong_string(document.text, "a caption")
            return self._fault(document, "text", document.id, wrong) if wrong else None
        if wrong := wrong_text(document.text):
            if not isinstance(document.text, str) or wrong_string(document.text, "") or is_blank(document.title or ""):
                return self._fault(document, "text", document.id, wrong)
            self.counts["corpus.title_only"] += 1
        return None

    def _query_fault(self, query: Query) -> Fault | None:
        if wrong := wrong_id(query.id, self._id_bytes):
            return self._fault(query, "id", query.id, wrong)
        if wrong := wrong_text(query.text) if query.picture is None else wrong_string(query.text, "a caption"):
            return self._fault(query, "text", query.id, wrong)
        if query.prompt is not None and (wrong := wrong_string(query.prompt, "a prompt")):
            return self._fault(query, "prompt", query.id, wrong)
        return None

    def _picture_fault(self, item: Document | Query, wrong: Wrong) -> Fault:
        name = f"'{shown(item.picture.name)}': " if item.picture.name else ""
        return self._fault(item, "picture", item.id, Wrong(name + wrong.reason, wrong.mend))

    def _judgement_fault(self, item: Judgement) -> Fault | None:
        for name, value in (("query_id", item.query_id), ("doc_id", item.doc_id)):
            if wrong := wrong_id(value, self._id_bytes):
                return self._fault(item, name, item.query_id, wrong)
        if wrong := wrong_relevance(item.relevance):
            return self._fault(item, "relevance", item.query_id, wrong)
        if item.split not in SPLITS:
            wrong = Wrong(
                f"the split '{shown(item.split)}' is none of {', '.join(SPLITS)}", "name the split as one of these"
            )
            return self._fault(item, "split", item.query_id, wrong)
        return None

    def take_rowless(self, state: int, place: tuple[str, int, str], column: str, what: str) -> None:
        """Takes in a judgement, given by file, line and query id, whose document or query is BEYOND, REJECTED or MISSING."""
        if state == BEYOND:
            self.counts["qrels.beyond_limit"] += 1
            return
        if state == REJECTED:
            self.counts["qrels.of_rejected"] += 1
            self._store("qrels", self._at(place, column, Wrong(f"{what} was rejected", "mend that row")))
            return
        fault = self._at(place, column, Wrong(f"{what} is not there", "add it, or take the judgement out"))
        self.counts["qrels.missing_document" if column == "doc_id" else "qrels.missing_query"] += 1
        if len(self._missing) < _LISTED:
            self._missing.append(f"{self._where(fault)}: {fault.reason}")
        if self._missing_count <= self._missing_allowed:
            self._store("qrels", fault)

    @property
    def _missing_count(self) -> int:
        return self.counts["qrels.missing_document"] + self.counts["qrels.missing_query"]

    def check_missing(self) -> None:
        """Raises InputError when more judgements name what is not there than are allowed."""
        if (count := self._missing_count) > self._missing_allowed:
            raise InputError(
                f"qrels: {count:,} judgements name documents or queries that are not there; allowed are {self._missing_allowed:,}",
                where="; ".join(self._missing) + ("; …" if count > _LISTED else ""),
                try_=f"add what is missing, take the judgements out, or set missing_judgements_allowed = {count}",
            )
        if count:
            self._log(f"{count:,} judgements name documents or queries that are not there: left out, listed in rejects")

    def refuse(self, table: str, fault: Fault) -> None:
        """Raises InputError for a bad row, or puts it among the rejects."""
        if self._fail:
            raise InputError(f"{table}: {fault.reason}", where=self._where(fault), try_=fault.mend)
        self._store(table, fault)

    def refuse_at(self, table: str, place: tuple[str, int, str], column: str, wrong: Wrong) -> None:
        """`refuse` for a row that is known by file, line and id."""
        self.refuse(table, self._at(place, column, wrong))

    def first_reject(self, table: str) -> str:
        """What is wrong with the first row of a table that was rejected, and where it stands; empty when none was."""
        fault = self._first.get(table)
        if (
            fault is None and table == "corpus"
        ):  # the documents of a row may be missing for what is wrong with its query
            fault = next((item for item in self._dataset.queries() if isinstance(item, Fault)), None)
        return f"; the first that was rejected: {fault.reason} ({self._where(fault)}): {fault.mend}" if fault else ""

    def check_balance(self) -> None:
        """Raises HardrockError unless every row that was read is accounted for."""
        for table, leave in (("corpus", ()), ("queries", ("unjudged",)), ("qrels", ("repeated",))):
            out = sum(self.counts[f"{table}.{name}"] for name in ("kept", "rejected", "beyond_limit", *leave))
            if (read := self.counts[f"{table}.read"]) != out:
                raise HardrockError(f"{table}: {read} rows were read and {out} are accounted for")

    def _content(self, table: str, item: Any) -> Content | None:
        """What a process is to decode of a row."""
        picture = getattr(item, "picture", None)
        return None if picture is None or not self._decodes(table, item) else picture.content

    def _reject(self, table: str, fault: Fault, ids: Ids) -> None:
        self.refuse(table, fault)
        if fault.id is not None:
            ids.rejected.add(fault.id)

    def _store(self, table: str, fault: Fault) -> None:
        self.counts[f"{table}.rejected"] += 1
        self._first.setdefault(table, fault)
        name = None if fault.id is None else fault.id.encode("utf-8", "backslashreplace").decode()
        self.rejects.add(table, fault.file, fault.line, fault.column, name, fault.reason, fault.mend)

    def _fault(self, item: Document | Query | Judgement, field: str, key: object, wrong: Wrong) -> Fault:
        return Fault(item.file, item.line, self._column(field), key if isinstance(key, str) else None, *wrong)

    def _at(self, place: tuple[str, int, str], column: str, wrong: Wrong) -> Fault:
        file, line, key = place
        return Fault(file, line, self._column(column), key, *wrong)

    def _column(self, field: str) -> str:
        return self._dataset.column_names.get(field, field)

    def _locate(self, file: str) -> str:
        return self._dataset.locate(file)

    def _where(self, fault: Fault) -> str:
        line = "" if fault.line is None else f" line {fault.line}"
        column = "" if fault.column is None else f", column {fault.column!r}"
        return f"{self._locate(fault.file)}{line}{column}" + ("" if fault.id is None else f", id '{shown(fault.id)}'")
