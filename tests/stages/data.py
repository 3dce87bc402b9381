"""Writes data sets byte by byte, and runs ingest over them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stages import ingest
from stages.settings import parse
from tests import support

FIXTURES = Path(__file__).parents[2] / "data" / "fixtures"

CORPUS = b'{"_id": "d1", "title": "One", "text": "first document"}\n{"_id": "d2", "text": "second document"}\n'
QUERIES = b'{"_id": "q1", "text": "first query"}\n{"_id": "q2", "text": "second query"}\n'
TRAIN = b"query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n"


def beir(folder: Path, corpus: bytes = CORPUS, queries: bytes = QUERIES, **qrels: bytes) -> Path:
    """A BEIR folder of the bytes given; without qrels, two judgements in train."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    (folder / "corpus.jsonl").write_bytes(corpus)
    (folder / "queries.jsonl").write_bytes(queries)
    for split, content in (qrels or {"train": TRAIN}).items():
        (folder / "qrels" / f"{split}.tsv").write_bytes(content)
    return folder


def jsonl(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def config(dataset: dict[str, Any], **fields: Any) -> ingest.IngestConfig:
    return parse(ingest.IngestConfig, {"dataset": dataset, **fields}, "ingest")


def read(folder: Path, scratch: Path, **fields: Any) -> support.Result:
    """Ingests a BEIR folder."""
    return support.run(ingest, config({"name": "beir", "path": str(folder)}, **fields), {}, scratch)


def read_pairs(path: Path, scratch: Path, *, policy: dict[str, Any] | None = None, **fields: Any) -> support.Result:
    """Ingests a file or folder of pairs."""
    return support.run(ingest, config({"name": "pairs", "path": str(path), **fields}, **(policy or {})), {}, scratch)


def relevant(result: support.Result) -> set[tuple[str, str, int, str]]:
    """The judgements by their ids: (query id, document id, relevance, split)."""
    doc_ids = result["corpus"].column("doc_id").to_pylist()
    query_ids = result["queries"].column("query_id").to_pylist()
    return {
        (query_ids[r["query_row"]], doc_ids[r["doc_row"]], r["relevance"], r["split"]) for r in result.rows("qrels")
    }
