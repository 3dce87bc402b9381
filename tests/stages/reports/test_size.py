"""The page stays below 5 MB with 10,000 queries: only the packed rows grow with the queries, and they have a limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import report
from stages.report import ReportConfig
from stages.reports import browse
from tests.stages.test_report import FILTERS, data, parsed
from tests.support import run, source, table

DOCUMENTS, CANDIDATES = 1_000, 30


def many(queries: int) -> dict[str, Any]:
    """`queries` training queries with texts of random words, which compress badly, and candidates of every verdict."""
    chance = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))

    def text() -> str:
        return " ".join("".join(chance.choice(letters, 7)) for _ in range(30))

    corpus = [{"row": i, "doc_id": f"document-{i}", "text": text(), "text_hash": i} for i in range(DOCUMENTS)]
    asked = [
        {"row": i, "query_id": f"query-{i}", "text": text(), "split": "train", "source": "given", "text_hash": i}
        for i in range(queries)
    ]
    judged, positives, triplets = [], [], []
    for q in range(queries):
        docs = chance.choice(DOCUMENTS, CANDIDATES, replace=False).tolist()
        scores = np.sort(chance.random(CANDIDATES))[::-1].tolist()
        for rank, (doc, score) in enumerate(zip(docs, scores, strict=True), 1):
            verdict = "kept" if rank > 8 else FILTERS[1]
            row = {"query_row": q, "doc_row": doc, "rank": rank, "score": score, "retriever": "dense"}
            evidence = {"rule": FILTERS[1], "value": score, "limit": 0.5}
            judged.append(
                {**row, "positive_row": docs[0], "positive_score": 0.9, "verdict": verdict, "evidence": evidence}
            )
        positives.append({"query_row": q, "positive_row": docs[0], "score": 0.9, "rank": 1})
        common = {
            "query_row": q,
            "positive_row": docs[0],
            "positive_score": 0.9,
            "sampler": "top",
            "seed": 0,
            "round": 0,
        }
        triplets += [
            {**common, "negative_row": docs[r - 1], "negative_score": scores[r - 1], "rank": r} for r in range(9, 14)
        ]
    qrels = [
        {"query_row": p["query_row"], "doc_row": p["positive_row"], "relevance": 1, "split": "train", "source": "given"}
        for p in positives
    ]
    facts = {"comparison": "least_positive", "filters": [{"name": f} for f in FILTERS]}
    made = {
        "corpus": corpus, "queries": asked, "qrels": qrels, "round-00/positives": positives, "round-00/triplets": triplets,
        "round-00/shortfall": [],
    }  # fmt: skip
    tables = {name: source(table(name.rpartition("/")[2], rows)) for name, rows in made.items()}
    return data() | tables | {"round-00/judged": source(table("judged", judged), **facts)}


def sizes(queries: int, tmp_path: Path) -> tuple[int, int]:
    """Bytes of the packed rows, and of the rest of the page."""
    result = run(report, ReportConfig(), many(queries), tmp_path / str(queries))
    packed = len(parsed(result).one("script", id="rows").text)
    return packed, result.files["index.html"].stat().st_size - packed


@pytest.mark.slow
def test_a_page_of_ten_thousand_queries_is_below_five_megabytes(tmp_path: Path, monkeypatch) -> None:
    limit = browse.BYTES
    small, large = sizes(60, tmp_path), sizes(120, tmp_path)
    assert (large[0] - small[0]) / 60 * 10_000 > limit  # 10,000 such queries do not fit, so the limit has to hold
    assert abs(large[1] - small[1]) < 10_000  # texts of other queries are drawn, which differ a little
    assert large[1] + limit < 5_000_000
    monkeypatch.setattr(browse, "BYTES", small[0] // 2)
    limited = sizes(120, tmp_path)
    assert small[0] // 4 < limited[0] <= small[0] // 2
    assert limited[1] + limit < 5_000_000
