"""Reads a data set, checks every row of it, and stores corpus, queries and qrels.

The corpus is streamed first, so that only ids and hashes stay in memory; then the judgements; then the queries, whose
split is that of their judgements. Rows are numbered in the order in which the data set gives them.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import AfterValidator, Field

from stages import labelling
from stages.errors import InputError
from stages.gathered import HeldJudgements, HeldPictures
from stages.imaging import MOST_PIXELS, Limits, Proved
from stages.intake import LIMITS, Buffer, Dataset, Intake, Opening
from stages.records import SPLITS, Document, Picture, Query, Wrong, is_blank, shown, stable_hash
from stages.registry import OneOf
from stages.schemas import CORPUS, QRELS, QUERIES
from stages.settings import Settings, speed
from stages.spec import Context, Inputs, Part, Spec
from stages.text import TITLE_FIRST, join_title, pieces, text_hash, with_template

DOCUMENTS_A_QUERY = 10  # documents kept for each query of a limit
_LISTED = 100  # ids of queries without positives in the facts
_EMPTY = {
    "corpus": "the data set has to have documents",
    "queries": "the data set has to have queries, and judgements that name them",
    "qrels": "the data set has to have judgements of its queries and documents",
}
_COUNTERS = (
    *(
        f"{table}.{name}"
        for table in ("corpus", "queries", "qrels")
        for name in ("read", "kept", "rejected", "beyond_limit")
    ),
    *("corpus.same_text", "corpus.title_only", "queries.same_text", "queries.unjudged", "queries.without_positives"),
    *("qrels.repeated", "qrels.of_rejected", "qrels.missing_document", "qrels.missing_query"),
)
_TOLD = {
    "corpus.rejected": "documents are rejected: see the table rejects",
    "queries.rejected": "queries are rejected: see the table rejects",
    "qrels.rejected": "judgements are rejected: see the table rejects",
    "corpus.beyond_limit": "documents are left out by the limit",
    "queries.beyond_limit": "queries are left out by the limit",
    "queries.unjudged": "queries without any judgement are left out",
    "queries.without_positives": "queries have judgements but no relevant document",
    "corpus.title_only": "documents have a title and no text",
    "qrels.repeated": "judgements stand there more than once: taken once",
    "pictures.transparent": "pictures are transparent: stored as PNG on the background",
    "pictures.rotated": "pictures are turned upright as their EXIF says: stored as PNG",
    "pictures.cmyk": "pictures are CMYK: stored as PNG in RGB",
    "pictures.16-bit": "pictures have 16 bits a value: stored as PNG with 8",
    "pictures.animated": "pictures have several frames: the first is stored, as PNG",
}


Colour = Annotated[int, Field(ge=0, le=255)]


class PicturesConfig(Settings):
    """What pictures may be. Each is decoded whole once, in processes beside this one; what fails is a bad row."""

    max_bytes: int = Field(LIMITS.bytes, ge=1, description="Largest picture in bytes as it is encoded.")
    max_pixels: int = Field(
        LIMITS.pixels,
        ge=1,
        le=MOST_PIXELS,
        description="Largest picture in pixels, width times height. A process needs about ten bytes of memory a pixel.",
    )
    background: tuple[Colour, Colour, Colour] = Field(
        LIMITS.background, description="Colour behind transparent pictures: red, green and blue, 0 to 255."
    )
    workers: int | None = speed(
        None,
        "Processes that decode; null: one a core, 0: this one. A few pictures are decoded here whatever it is.",
        ge=0,
    )


def _template(value: str) -> str:
    pieces(value)
    return value


class IngestConfig(Settings):
    """What is read, and what happens to rows that cannot be used."""

    dataset: Annotated[Dataset | Opening, OneOf("datasets")] = Field(
        ..., description="The data set, by the name of its adapter, and its fields."
    )
    on_bad_row: Literal["fail", "quarantine"] = Field(
        "fail",
        description="fail: the first bad row stops the run. quarantine: bad rows are listed in the table rejects and left out, "
        "of rows with the same id all but the first, and with a row the judgements that name it.",
    )
    missing_judgements_allowed: int = Field(
        0,
        ge=0,
        description="Number of judgements that may name a document or query that is not there. They are left out, listed in "
        "rejects and counted; one more fails, whatever on_bad_row is.",
    )
    title_join: Annotated[str, AfterValidator(_template)] = Field(
        TITLE_FIRST,
        description="How a document's title and its text become the one text that is encoded, mined, taught, trained on and "
        "exported, guards included: {title} and {text} stand for them. A document without a title is its text alone. '{text}' leaves "
        "titles out, but of documents that have nothing else. Formats that keep titles apart get them apart, and their trainers "
        "join them in their own way. Another value embeds everything anew.",
    )
    limit: int | None = Field(
        None,
        ge=1,
        description="Keeps at most this many queries of each split: of those with a positive, the ones with the smallest stable hash "
        "of their id. Of the corpus it keeps the documents relevant to them and then others by the smallest hash, up to ten times "
        "the limit in all. All rows are checked all the same, twice, but for the pictures of what is left out; that is counted.",
    )
    id_bytes: int = Field(1024, ge=1, le=65_536, description="Longest id in bytes of UTF-8. Ids are held in memory.")
    pictures: PicturesConfig = Field(PicturesConfig(), description="Pictures, where the data set has some.")  # type: ignore[call-arg]
    labels: str | None = speed(
        None,
        "File of labels that people gave with `hardrock review`. They overrule the judgements of the data set, as source human. "
        "What holds in it is part of a result's identity, its place is not. Default: labels.jsonl in the workspace, if it is there.",
    )
    part_rows: int = Field(100_000, description="Rows of a Parquet part. More need more memory.", ge=1)


def external(config: IngestConfig, inputs: Inputs, device: str) -> Mapping[str, str]:
    """The fingerprints of the raw data and, where there are any, of the labels."""
    labels = _labels(config)
    given = {"labels": labelling.fingerprint(labels)} if labels else {}
    return {"dataset": config.dataset.fingerprint(), **given}


def _labels(config: IngestConfig) -> labelling.Labels:
    return labelling.read(Path(config.labels)) if config.labels else {}


SPEC = Spec(
    name="ingest",
    version=3,
    config=IngestConfig,
    tables=("corpus", "queries", "qrels", "pictures", "rejects"),
    external=external,
)


def run(config: IngestConfig, inputs: Inputs, context: Context) -> Iterator[Part]:
    """Yields corpus, queries, qrels, pictures and rejects in parts of at most `part_rows` rows. Raises InputError."""
    for shard in context.shards:
        dataset, opened = config.dataset, None
        if isinstance(dataset, Opening):
            dataset = opened = dataset.open(context)
        reading = _Reading(config, dataset, context.log)
        with context.progress("reading", 0) as bar:
            for name, table in reading.tables():
                bar.advance(table.num_rows)
                yield Part(shard, {name: table}, last=False)
        reading.intake.check_balance()
        reading.tell(context.log)
        last = {"pictures": reading.pictures.rows.take(), "rejects": reading.intake.rejects.take()}
        counters = reading.counters() | dict(opened.counts if opened else {})
        yield Part(shard, last, counters=counters, facts=reading.facts())


class _Selection(NamedTuple):
    """The ids that a limit keeps."""

    queries: set[str]
    documents: set[str]


class _Reading:
    """One pass over the data set."""

    def __init__(self, config: IngestConfig, dataset: Dataset, log: Callable[[str], None]) -> None:
        self._chosen = None if config.limit is None else _select(config, dataset, config.limit)
        self._part_rows, self._template = config.part_rows, config.title_join
        self._name = dataset.name
        self._place = ", ".join([dataset.name, *filter(None, [getattr(config.dataset, "path", None)])])
        self._attribution = getattr(dataset, "attribution", None)
        self._labels = _labels(config)
        self._labelled: dict[str, int] = {}
        self.pictures = HeldPictures(config.part_rows)
        self.intake = _intake(config, dataset, log, self._decodes)
        self._counts = self.intake.counts
        self._held = HeldJudgements()
        self._query_ids: list[str] = []  # by row
        self._query_splits = array("b")  # by row, a number in SPLITS
        self._splits: dict[str, dict[str, int]] = {}
        self._without: list[str] = []

    def _decodes(self, table: str, item: Document | Query) -> bool:
        """Whether a picture is stored for this row, and is not yet."""
        if self._chosen and item.id not in (self._chosen.documents if table == "corpus" else self._chosen.queries):
            return False
        return not self.pictures.knows(item.picture)

    def tables(self) -> Iterator[tuple[str, pa.Table]]:
        """Each table by its name, in parts; the last rows of rejects stay with the intake."""
        for name, parts in (("corpus", self._corpus), ("queries", self._queries), ("qrels", self._qrels)):
            if name == "queries":
                self._read_judgements()
            for table in parts():
                if table is not None:
                    yield name, table
                if self.pictures.rows.full:
                    yield "pictures", self.pictures.rows.take()
                if self.intake.rejects.full:
                    yield "rejects", self.intake.rejects.take()
            if not self._counts[f"{name}.kept"]:
                counts = ", ".join(f"{k} {n:,}" for k, n in sorted(self._counts.items()) if k.startswith(f"{name}."))
                got = counts + self.intake.first_reject(name)
                raise InputError(f"{name}: no row is left", where=self._place, got=got, try_=_EMPTY[name])

    def _corpus(self) -> Iterator[pa.Table | None]:
        """The table in parts; None where only the table of pictures has enough rows for one."""
        schema = with_template(CORPUS, self._template)
        ids, rows, hashes = self.intake.document_ids, Buffer(schema, self._part_rows), array("q")
        for document in self.intake.documents():
            if self._chosen and document.id not in self._chosen.documents:
                self._counts["corpus.beyond_limit"] += 1
                continue
            row = len(hashes)
            ids.set_last(row)
            title = None if document.title is None or is_blank(document.title) else document.title
            picture, its_hash = self._encoded(document.picture, join_title(title, document.text, self._template))
            hashes.append(its_hash)
            values = (row, document.id, title, document.text, document.group, document.label, picture, its_hash)
            rows.add(*values, characters=len(document.text) + len(title or ""))
            if rows.full:
                yield rows.take()
            elif self.pictures.rows.full:
                yield None
        if len(rows):
            yield rows.take()
        self._counts["corpus.kept"] = len(hashes)
        self._counts["corpus.same_text"] = _repeated(hashes)

    def _encoded(self, picture: Picture | Proved | None, text: str) -> tuple[int | None, int]:
        """The picture's row, where there is one, and the hash of what is encoded."""
        return (None, text_hash(text)) if picture is None else self.pictures.add(picture)

    def _queries(self) -> Iterator[pa.Table | None]:
        ids, rows, hashes = self.intake.query_ids, Buffer(QUERIES, self._part_rows), array("q")
        for query in self.intake.queries():
            split = self.intake.splits.get(query.id)
            if split is None or (self._chosen and query.id not in self._chosen.queries):
                self._counts["queries.unjudged" if split is None else "queries.beyond_limit"] += 1
                continue
            row = len(hashes)
            ids.set_last(row)
            self._query_ids.append(query.id)
            self._query_splits.append(SPLITS.index(split))
            picture, its_hash = self._encoded(query.picture, query.text)
            hashes.append(its_hash)
            values = (row, query.id, query.text, split, query.prompt, query.source, picture, its_hash)
            rows.add(*values, characters=len(query.text))
            if rows.full:
                yield rows.take()
            elif self.pictures.rows.full:
                yield None
        if len(rows):
            yield rows.take()
        self._counts["queries.kept"] = len(hashes)
        self._counts["queries.same_text"] = _repeated(hashes)

    def _read_judgements(self) -> None:
        find, held = self.intake.document_ids.row, self._held
        for item in self.intake.judgements():
            row = find(item.doc_id)
            if row >= 0:
                held.add(item, row)
            else:
                place = (item.file, item.line, item.query_id)
                self.intake.take_rowless(row, place, "doc_id", f"the document '{shown(item.doc_id)}'")

    def _qrels(self) -> Iterator[pa.Table]:
        held = self._held
        by_code = np.array([self.intake.query_ids.row(key) for key in held.codes], dtype=np.int64)
        rows = by_code[np.array(held.code, dtype=np.int64)]  # (judgements,)
        rowless = np.flatnonzero(rows < 0)
        for i, place in zip(rowless, held.places(rowless), strict=True):
            self.intake.take_rowless(int(rows[i]), place, "query_id", f"the query '{shown(place[2])}'")
        self.intake.check_missing()
        kept = self._unique(rows, np.flatnonzero(rows >= 0))
        self._counts["qrels.kept"] = len(kept)
        query_rows, relevance = rows[kept].astype(np.int32), np.array(held.relevance, dtype=np.int32)[kept]
        splits = np.array(self._query_splits, dtype=np.int8)
        table = pa.table(
            [
                pa.array(query_rows),
                pa.array(np.array(held.doc_row, dtype=np.int32)[kept]),
                pa.array(relevance),
                pa.array(SPLITS, pa.string()).take(pa.array(splits[query_rows])),
                held.sources(kept),
            ],
            schema=QRELS,
        )
        if self._labels:
            queries, documents = self.intake.query_ids.row, self.intake.document_ids.row
            table, self._labelled = labelling.overrule(
                table, self._labels, queries, documents, lambda row: SPLITS[splits[row]]
            )
            query_rows, relevance = table["query_row"].to_numpy(), table["relevance"].to_numpy()
        self._count_splits(splits, query_rows, relevance)
        for start in range(0, table.num_rows, self._part_rows):
            yield table.slice(start, self._part_rows)

    def _unique(self, rows: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """Of the judgements in `kept`, the first of each query and document, ordered by both; contradicting ones are refused."""
        held = self._held
        documents, relevance = np.array(held.doc_row, dtype=np.int32), np.array(held.relevance, dtype=np.int32)
        order = kept[np.lexsort((documents[kept], rows[kept]))]  # stable: the first read comes first
        again = np.zeros(len(order), dtype=bool)
        again[1:] = (np.diff(rows[order]) == 0) & (np.diff(documents[order]) == 0)
        firsts = order[np.maximum.accumulate(np.where(again, 0, np.arange(len(order))))]
        contradicts = relevance[order] != relevance[firsts]
        self._counts["qrels.repeated"] = int((again & ~contradicts).sum())
        pairs = sorted(zip(order[contradicts].tolist(), firsts[contradicts].tolist(), strict=True))
        places = held.places(number for pair in pairs for number in pair)
        for (i, first), place, (file, line, _) in zip(pairs, places, places, strict=True):
            reason = (
                f"the relevance is {relevance[i]}, and for the same document {relevance[first]} in {file} line {line}"
            )
            self.intake.refuse_at("qrels", place, "relevance", Wrong(reason, "keep one of the two"))
        return order[~again]

    def _count_splits(self, splits: np.ndarray, query_rows: np.ndarray, relevance: np.ndarray) -> None:
        positives = np.bincount(query_rows[relevance > 0], minlength=len(splits))  # (queries,)
        judged = np.bincount(query_rows, minlength=len(splits))
        without = np.flatnonzero(positives == 0)
        self._counts["queries.without_positives"] = len(without)
        self._without = [self._query_ids[row] for row in without[:_LISTED]]
        for number, split in enumerate(SPLITS):
            mine = splits == number
            if mine.any():
                self._splits[split] = {
                    "queries": int(mine.sum()),
                    "queries_with_positives": int((positives[mine] > 0).sum()),
                    "judgements": int(judged[mine].sum()),
                    "positives": int(positives[mine].sum()),
                }
        if len(without) == len(splits):
            raise InputError(
                "qrels: no query has a relevant document", where=self._place, try_="relevant is a score above 0"
            )

    def counters(self) -> dict[str, int]:
        """Every counter, those that stayed at 0 included."""
        return {name: self._counts[name] for name in _COUNTERS} | self._labelled | dict(self.pictures.counts)

    def facts(self) -> dict[str, Any]:
        attribution = {"attribution": self._attribution} if self._attribution else {}
        return {
            "dataset": self._name,
            **attribution,
            "splits": self._splits,
            "queries_without_positives": self._without,
        }

    def tell(self, log: Callable[[str], None]) -> None:
        """Says what is not as the data set has it."""
        counts = self._counts | self.pictures.counts
        for name, says in _TOLD.items():
            if count := counts[name]:
                log(f"{count:,} {says}")
        if missing := self._labelled.get("labels.missing"):
            log(f"{missing:,} labels name a query or a document that is not here: left out")


def _intake(
    config: IngestConfig,
    dataset: Dataset,
    log: Callable[[str], None],
    decodes: Callable[[str, Document | Query], bool],
) -> Intake:
    return Intake(
        dataset,
        fail=config.on_bad_row == "fail",
        id_bytes=config.id_bytes,
        missing_allowed=config.missing_judgements_allowed,
        part_rows=config.part_rows,
        log=log,
        limits=Limits(config.pictures.max_bytes, config.pictures.max_pixels, config.pictures.background),
        workers=config.pictures.workers,
        decodes=decodes,
    )


def _repeated(hashes: array[int]) -> int:
    """How many of the hashes stand there already. Sorts a copy, and holds no other."""
    values = np.array(hashes)
    values.sort()
    return int(np.count_nonzero(values[1:] == values[:-1]))


def _select(config: IngestConfig, dataset: Dataset, limit: int) -> _Selection:
    """What a limit keeps, from a reading of its own: no row and no text of it is held, and no picture is decoded."""
    intake = _intake(config, dataset, lambda message: None, lambda table, item: False)
    documents = {document.id for document in intake.documents()}
    relevant: dict[str, set[str]] = {}
    for item in intake.judgements():
        if item.relevance > 0 and item.doc_id in documents:
            relevant.setdefault(item.query_id, set()).add(item.doc_id)
    by_split: dict[str, list[str]] = {}
    for query in intake.queries():
        if query.id in relevant:
            by_split.setdefault(intake.splits[query.id], []).append(query.id)
    queries = {key for keys in by_split.values() for key in heapq.nsmallest(limit, keys, _by_hash)}
    wanted = {key for query_id in queries for key in relevant[query_id]}
    room = max(0, DOCUMENTS_A_QUERY * limit - len(wanted))
    return _Selection(queries, wanted.union(heapq.nsmallest(room, documents - wanted, _by_hash)))


def _by_hash(key: str) -> tuple[int, str]:
    return stable_hash(key), key
