"""Queries, corpus and qrels as Parquet files, with the column names that MTEB reads; shared by the repository formats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from stages.exporters._common import Row, RowGroups, Texts, id_fields
from stages.spec import Source

CORPUS = pa.schema([("_id", pa.string()), ("title", pa.string()), ("text", pa.string())])
QUERIES = pa.schema([("_id", pa.string()), ("text", pa.string())])
QRELS = pa.schema([("query-id", pa.string()), ("corpus-id", pa.string()), ("score", pa.int32())])
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


def wanted(texts: Texts, folder: Path) -> Iterator[Row]:
    """The rows that `ids.parquet` of qrels calls for."""
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(folder / "ids.parquet").iter_batches():
        query, doc = (batch.column(name).to_numpy() for name in ("query_row", "positive_row"))
        pairs = zip(texts.anchors(query, False).to_pylist(), texts.documents(doc).to_pylist(), strict=True)
        yield from (Row(asked, (found,)) for asked, found in pairs)
