"""Ingests any data set, and names what came out by its texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages import ingest
from tests import support
from tests.stages.data import config


def ingested(
    name: str, path: Path | None, scratch: Path, *, policy: dict[str, Any] | None = None, **fields: Any
) -> Any:
    """The result of ingest for a data set of this name."""
    place = {} if path is None else {"path": str(path)}
    return support.run(ingest, config({"name": name, **place, **fields}, **(policy or {})), {}, scratch)


def judged(result: Any) -> set[tuple[str, str, int]]:
    """The judgements by texts: query, document, relevance."""
    documents, queries = (result[table].column("text").to_pylist() for table in ("corpus", "queries"))
    return {(queries[r["query_row"]], documents[r["doc_row"]], r["relevance"]) for r in result.rows("qrels")}


def by_id(result: Any) -> set[tuple[str, str, int, str]]:
    """The judgements by ids: query, document, relevance, split."""
    documents, queries = result["corpus"].column("doc_id").to_pylist(), result["queries"].column("query_id").to_pylist()
    return {
        (queries[r["query_row"]], documents[r["doc_row"]], r["relevance"], r["split"]) for r in result.rows("qrels")
    }
