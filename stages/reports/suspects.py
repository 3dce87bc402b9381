"""The suspects of a round, as `fn_suspects` of the catalog finds them, from tables in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.reports.mining import KEPT, whole_queries
from stages.schemas import TEACHER_SCORES
from stages.spec import Inputs, Source
from stages.suspecting import POOL, chosen, signed
from stages.text import joined

_CANDIDATES = ("query_row", "doc_row", "positive_row", "rank", "score", "positive_score")
_BLOCK = 500_000
"""Kept candidates that are compared at once."""


@dataclass(frozen=True)
class Suspect:
    """A kept candidate with something against it, and the positive of its query that it resembles most."""

    query_row: int
    doc_row: int
    positive_row: int | None
    signs: list[str]
    overlap: float | None
    """Share of words in common with this positive (Jaccard)."""
    score: float
    positive_score: float | None
    """Score of this positive."""
    gap: float | None
    """How far the score lies below that of the positive that the judge held it against, as a share of it."""
    rank: int


def suspects(tables: Mapping[str, Source], inputs: Inputs, count: int, pool: int = POOL) -> list[Suspect]:
    """The first `count` suspects of a round whose tables these are, those with the most signs first."""
    import duckdb

    with duckdb.connect(":memory:") as connection:
        connection.execute("SET python_enable_replacements = false")
        held = _nearest(connection, tables["judged"], pool)
        if not held.num_rows or not count:
            return []
        positives = _of_queries(tables["positives"], ["query_row", "positive_row", "score"], held)
        found = {
            "chosen": held,
            "positives": positives,
            "teacher_scores": _taught(tables, held),
            "qrels": inputs["qrels"].read(["query_row", "doc_row", "relevance"]),
            "corpus": _texts(inputs["corpus"], held, positives),
        }
        for name, table in found.items():
            connection.register(name, table)
        rows = connection.execute(
            f"""WITH {signed("c.text")}
            SELECT s.query_row, s.doc_row, s.likest_row, s.signs, s.overlap, s.score, p.score, s.gap, s.rank
            FROM signed s LEFT JOIN positives p ON p.query_row = s.query_row AND p.positive_row = s.likest_row
            WHERE len(s.signs) > 0 ORDER BY len(s.signs) DESC, s.gap NULLS LAST, s.query_row, s.doc_row LIMIT $count""",
            {"count": count},
        ).fetchall()
    return [Suspect(*row) for row in rows]


def _nearest(connection: Any, judged: Source, pool: int) -> pa.Table:
    """The rows that are looked at: block by block, what was nearest so far beside the next kept candidates."""
    held = None
    for block in _kept(judged):
        rows = block if held is None else pa.concat_tables([held.select(block.column_names).cast(block.schema), block])
        connection.register("judged", rows)
        held = connection.sql(f"{chosen(str(pool))} ORDER BY query_row, doc_row").to_arrow_table()
        connection.unregister("judged")
    return pa.table({"query_row": pa.array([], pa.int32())}) if held is None else held


def _kept(judged: Source) -> Iterator[pa.Table]:
    """The kept candidates in blocks, no query in two of them."""
    gathered: list[pa.Table] = []
    for table in whole_queries(judged, [*_CANDIDATES, "verdict"]):
        kept = table.filter(pc.equal(table.column("verdict").cast(pa.string()), KEPT)).select(list(_CANDIDATES))
        gathered.append(kept.append_column("verdict", pa.array([KEPT] * kept.num_rows, pa.string())))
        if sum(each.num_rows for each in gathered) >= _BLOCK:
            yield _in_round(pa.concat_tables(gathered))
            gathered = []
    if gathered:
        yield _in_round(pa.concat_tables(gathered))


def _in_round(table: pa.Table) -> pa.Table:
    """With the column `round` that the queries join by: there is one round here."""
    return table.append_column("round", pa.array(np.zeros(table.num_rows, np.int32)))


def _of_queries(source: Source, columns: Sequence[str], held: pa.Table) -> pa.Table:
    """The rows of a table that belong to queries with a candidate that is looked at."""
    wanted = pc.unique(held["query_row"])
    found = [b.filter(pc.is_in(b.column("query_row"), wanted)) for b in source.batches(columns)]
    return _in_round(pa.Table.from_batches(found) if found else source.read(columns))


def _taught(tables: Mapping[str, Source], held: pa.Table) -> pa.Table:
    """What teachers said of these queries; nothing where none were asked."""
    columns = ["query_row", "doc_row", "teacher", "score"]
    if "teacher_scores" not in tables:
        return TEACHER_SCORES.empty_table().select(columns).append_column("round", pa.array([], pa.int32()))
    found = _of_queries(tables["teacher_scores"], columns, held)
    return found.set_column(2, "teacher", found["teacher"].cast(pa.string()))


def _texts(corpus: Source, held: pa.Table, positives: pa.Table) -> pa.Table:
    """What is encoded of the documents that are compared."""
    wanted = np.union1d(held["doc_row"].to_numpy(), positives["positive_row"].to_numpy())
    rows: list[int] = []
    texts: list[str] = []
    for batch in corpus.batches(["row", "title", "text"]):
        kept = batch.filter(pc.is_in(batch.column("row"), pa.array(wanted)))
        rows += kept.column("row").to_pylist()
        texts += joined(kept)
    return pa.table({"row": pa.array(rows, pa.int32()), "text": pa.array(texts, pa.string())})
