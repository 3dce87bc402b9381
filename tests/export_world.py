"""A small corpus, queries and triplets for the tests of exports and of the catalog, and a loader of what was exported."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.registry import names
from stages.text import text_hash
from tests.support import source, table


def _of_texts(name: str) -> bool:
    module = importlib.import_module(f"stages.exporters.{name}")
    member = getattr(module, "".join(word.capitalize() for word in name.split("_")))
    return not hasattr(member, "takes")


TEXT_EXPORTERS = [name for name in names("exporters") if _of_texts(name)]
"""The targets that hold texts; the others hold pictures."""


def corpus(texts: Sequence[str], titles: Sequence[str | None] | None = None) -> pa.Table:
    titles = titles or [None] * len(texts)
    return table(
        "corpus",
        [
            {"row": i, "doc_id": f"d{i}", "title": titles[i], "text": text, "text_hash": text_hash(text)}
            for i, text in enumerate(texts)
        ],
    )


def queries(texts: Sequence[str], prompts: Sequence[str | None] | None = None) -> pa.Table:
    prompts = prompts or [None] * len(texts)
    return table(
        "queries",
        [
            {
                "row": i,
                "query_id": f"q{i}",
                "text": text,
                "split": "train",
                "prompt": prompts[i],
                "source": "given",
                "text_hash": text_hash(text),
            }
            for i, text in enumerate(texts)
        ],
    )


def triplets(rows: Sequence[tuple[int, int, int]], **fields: Any) -> pa.Table:
    """Triplets from (query_row, positive_row, negative_row); scores follow from the rows."""
    return table(
        "triplets",
        [
            {
                "query_row": q,
                "positive_row": p,
                "negative_row": n,
                "positive_score": 1 - p / 100,
                "negative_score": 0.5 - n / 100,
                "rank": n + 1,
                "sampler": "top",
                "seed": 13,
                "round": 0,
                **fields,
            }
            for q, p, n in rows
        ],
    )


def world(rows: Sequence[tuple[int, int, int]], docs: int = 30, asked: int = 6) -> dict[str, Any]:
    """Inputs of export in which every text says whose it is."""
    return {
        "corpus": source(corpus([f"text of document {i}" for i in range(docs)])),
        "queries": source(queries([f"text of query {i}" for i in range(asked)])),
        "triplets": source(triplets(rows)),
        **judgements(rows),
    }


def judgements(rows: Sequence[tuple[int, int, int]]) -> dict[str, Any]:
    """Qrels of the pairs, and the negatives as judged candidates."""
    pairs = sorted({(q, p) for q, p, _ in rows})
    qrels = [{"query_row": q, "doc_row": p, "relevance": 1, "split": "train", "source": "given"} for q, p in pairs]
    judged = [
        {"query_row": q, "doc_row": n, "rank": n + 1, "score": 0.5 - n / 100, "retriever": "dense", "positive_row": p,
         "positive_score": 1 - p / 100, "verdict": "kept", "evidence": {"rule": "margin", "value": 0.1, "limit": 0.2}}
        for q, p, n in rows
    ]  # fmt: skip
    return {"qrels": source(table("qrels", qrels)), "judged": source(table("judged", judged))}


def data(folder: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet target, file after file."""
    files = json.loads((folder / "export.json").read_text("utf-8"))["files"]
    return [row for name in files if name != "ids.parquet" for row in pq.read_table(folder / name).to_pylist()]


def ids(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "ids.parquet").to_pylist()


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "data/train.jsonl").read_bytes().split(b"\n") if line]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder and its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
