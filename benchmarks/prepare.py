"""Writes the vectors and tables that every contender reads: python -m benchmarks.prepare FOLDER OPTIONS (JSON)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import vectors
from stages.schemas import CORPUS, QRELS, QUERIES
from stages.text import text_hashes


def prepare(folder: Path, options: dict[str, Any]) -> None:
    """documents.npy, queries.npy, positives.npy, and where texts are asked for corpus, queries and qrels as Parquet."""
    queries, documents, seed = options["queries"], options["documents"], options["seed"]
    if options.get("vectors"):
        vectors.given(folder, Path(options["vectors"]), queries, documents, seed)
    else:
        vectors.write(folder, queries, documents, options["dimensions"], seed)
    if options.get("texts"):
        _tables(folder, queries, documents, seed)


def _tables(folder: Path, queries: int, documents: int, seed: int) -> None:
    asked, corpus = (vectors.texts(kind, n, seed) for kind, n in (("query", queries), ("document", documents)))
    _write(
        folder / "corpus.parquet",
        CORPUS,
        {"doc_id": [f"d{i}" for i in range(documents)], "text": corpus, "text_hash": text_hashes(corpus)},
    )
    _write(
        folder / "queries.parquet",
        QUERIES,
        {
            "query_id": [f"q{i}" for i in range(queries)],
            "text": asked,
            "split": ["train"] * queries,
            "source": ["synthetic"] * queries,
            "text_hash": text_hashes(asked),
        },
    )
    _write(
        folder / "qrels.parquet",
        QRELS,
        {
            "query_row": np.arange(queries),
            "doc_row": np.load(folder / "positives.npy"),
            "relevance": np.ones(queries),
            "split": ["train"] * queries,
            "source": ["synthetic"] * queries,
        },
    )


def _write(path: Path, schema: pa.Schema, columns: dict[str, Any]) -> None:
    count = len(next(iter(columns.values())))
    columns = {"row": np.arange(count), **columns}
    arrays = [
        pa.array(columns[each.name], each.type) if each.name in columns else pa.nulls(count, each.type)
        for each in schema
    ]
    pq.write_table(pa.table(arrays, schema=schema), path)


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), json.loads(sys.argv[2]))
