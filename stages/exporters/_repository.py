"""Queries, corpus and qrels as Parquet files, with the column names that MTEB reads; shared by the repository formats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.errors import ArtefactError
from stages.exporters._common import Row, Texts, id_fields
from stages.exporters._parquet import RowGroups
from stages.exporters._rows import loaded
from stages.spec import Source
from stages.text import join_title

CORPUS = pa.schema([("_id", pa.string()), ("title", pa.string()), ("text", pa.string())])
QUERIES = pa.schema([("_id", pa.string()), ("text", pa.string())])
QRELS = pa.schema([("query-id", pa.string()), ("corpus-id", pa.string()), ("score", pa.int32())])
CANDIDATES = pa.schema(
    [("query_id", pa.string()), ("doc_id", pa.string()), ("rank", pa.int32()), ("score", pa.float64()),
     ("retriever", pa.string()), ("verdict", pa.string()), ("positive_id", pa.string()),
     ("positive_score", pa.float64())]
)  # fmt: skip
IDS = id_fields("query_id", "positive_id", "query_row", "positive_row")


def corpus(texts: Texts) -> Iterator[pa.Table]:
    """The whole corpus, titles in a column of their own, empty where a document has none. Raises InputError."""
    for rows in texts.corpus():
        taken = pa.array(rows)
        texts.documents(rows)  # refuses what no trainer takes
        titles = [title or "" for title in texts.titles.take(taken).to_pylist()]
        columns = [texts.doc_ids.take(taken).cast(pa.string()), pa.array(titles, pa.string())]
        yield pa.table([*columns, texts.docs.take(taken).cast(pa.string())], schema=CORPUS)


def queries(texts: Texts) -> Iterator[pa.Table]:
    """All queries. Raises InputError."""
    for rows in texts.asked():
        ids = texts.query_ids.take(pa.array(rows)).cast(pa.string())
        yield pa.table([ids, texts.anchors(rows, prompts=False)], schema=QUERIES)


def qrels(texts: Texts, source: Source, split: str) -> Iterator[tuple[pa.Table, pa.Table]]:
    """The qrels of a split, and their rows of `ids.parquet`."""
    for batch in source.batches(("query_row", "doc_row", "relevance", "split")):
        table = pa.Table.from_batches([batch])
        kept = table.filter(pa.array(np.array(table.column("split").to_pylist(), dtype=object) == split))
        if not kept.num_rows:
            continue
        query, doc = (kept.column(name).combine_chunks() for name in ("query_row", "doc_row"))
        ids = [texts.query_ids.take(query).cast(pa.string()), texts.doc_ids.take(doc).cast(pa.string())]
        yield (
            pa.table([*ids, kept.column("relevance")], schema=QRELS),
            pa.table([*ids, query, doc], names=IDS.names).cast(IDS),
        )


def splits(source: Source) -> list[str]:
    """The splits of the qrels, in order of their names."""
    found: set[str] = set()
    for batch in source.batches(("split",)):
        found |= set(batch.column(0).unique().to_pylist())
    return sorted(found)


def write_parquet(path: Path, schema: pa.Schema, tables: Iterator[pa.Table]) -> int:
    """One Parquet file of the tables; returns its rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = 0
    with RowGroups(path, schema) as file:
        for table in tables:
            file.write(table)
            rows += table.num_rows
    return rows


def wanted(texts: Texts) -> Iterator[Row]:
    """A row for each judgement, as the qrels have them, split by split."""
    for _, query, doc, score in _judged(texts):
        pairs = zip(texts.anchors(query, False).to_pylist(), texts.documents(doc).to_pylist(), score, strict=True)
        yield from (Row(asked, (found,), (), (relevance,)) for asked, found, relevance in pairs)


def complete(name: str, texts: Texts, folder: Path) -> str:
    """Raises ArtefactError unless `ids.parquet` has every judgement, in order and once."""
    wanted = [
        (texts.query_ids[q].as_py(), texts.doc_ids[d].as_py(), q, d)
        for _, query, doc, _ in _judged(texts)
        for q, d in zip(query.tolist(), doc.tolist(), strict=True)
    ]
    table = pq.read_table(folder / "ids.parquet")
    found = list(zip(*(table.column(one).to_pylist() for one in IDS.names), strict=True))
    if found != wanted:
        at = next(
            (i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), min(len(found), len(wanted))
        )
        raise ArtefactError(
            f"{name}: the judgements are not those of the qrels",
            where=f"{folder / 'ids.parquet'}, row {at}",
            got=f"{len(found):,} of {len(wanted):,}",
            try_="hardrock export again; when it stays so, please report it",
        )
    return f"all {len(wanted):,} judgements"


def _judged(texts: Texts) -> Iterator[tuple[str, np.ndarray, np.ndarray, list[int]]]:
    """Split, query rows, document rows and relevance, in the order in which they are written."""
    for split in splits(texts.more["qrels"]):
        for batch in texts.more["qrels"].batches(("query_row", "doc_row", "relevance", "split")):
            kept = pa.Table.from_batches([batch])
            kept = kept.filter(pa.array([one == split for one in kept.column("split").to_pylist()], pa.bool_()))
            if kept.num_rows:
                rows = (kept.column(name).to_numpy() for name in ("query_row", "doc_row"))
                yield split, *rows, kept.column("relevance").to_pylist()


def whole(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Every document, titles joined, and every query."""
    for kind, place in (("document", "corpus"), ("query", "queries")):
        for row in loaded("parquet", *sorted((folder / place).glob("*.parquet"))):
            yield kind, row["_id"], join_title(row.get("title"), row["text"])


def candidates(texts: Texts) -> Iterator[pa.Table]:
    """What was judged, with its verdict."""
    for batch in texts.more["judged"].batches():
        table = pa.Table.from_batches([batch])
        ids = {
            "query_id": texts.query_ids.take(table.column("query_row")),
            "doc_id": texts.doc_ids.take(table.column("doc_row")),
            "positive_id": texts.doc_ids.take(table.column("positive_row")),
        }
        columns = [ids[name] if name in ids else table.column(name) for name in CANDIDATES.names]
        yield pa.table(columns, names=CANDIDATES.names).cast(CANDIDATES)
