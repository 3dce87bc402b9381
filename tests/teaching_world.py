"""A small world of texts for teachers: a corpus, queries, candidates and positives, and teachers that count."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from stages import teach
from stages.spec import Cache
from stages.teachers._teacher import Labelled
from stages.teaching import Log, Pairs, Scored, remembered
from tests.models import corpus, queries
from tests.support import MemoryCache, Result, Table, run, source, table

DOCUMENTS = [
    "Vaccines train the immune system to recognise a pathogen before it is met.",
    "The stock market fell on Tuesday by two percent.",
    "Antibodies are made after a vaccination.",
    "Bread is baked from flour, water, salt and yeast.",
    "A sourdough starter is a mixture of flour and water with wild yeast.",
    "Shares of banks rose while bonds fell.",
    "Vaccines train the immune system to recognise a pathogen before it is met.",
]
QUERIES = ["how do vaccines work", "what is bread made of", "how do vaccines work", "why did the market fall"]
POSITIVES = {0: [0], 1: [3, 4], 2: [2], 3: [1]}


def inputs(depth: int = 5, cut: int = 2) -> dict[str, Table]:
    """Every query's candidates are the documents in a turned order; parts end before the query `cut`."""
    candidates = [
        {"query_row": q, "doc_row": (q + r) % len(DOCUMENTS), "rank": r + 1, "score": 1 - r / 10, "retriever": "dense"}
        for q in range(len(QUERIES))
        for r in range(depth)
    ]
    positives = [
        {"query_row": q, "positive_row": d, "score": 0.9, "rank": None} for q, many in POSITIVES.items() for d in many
    ]
    halves = [lambda r: r["query_row"] < cut, lambda r: r["query_row"] >= cut]
    return {
        "corpus": corpus(DOCUMENTS, ["Health", None, "", None, "Baking", None, "Health"], parts=3),
        "queries": queries(QUERIES),
        "candidates": source(*(table("candidates", [r for r in candidates if half(r)]) for half in halves)),
        "positives": source(*(table("positives", [r for r in positives if half(r)]) for half in halves)),
    }


def wanted(depth: int, candidates: int = 5) -> set[tuple[int, int]]:
    """The pairs that are scored: candidates up to the depth, and positives."""
    found = {(q, (q + r) % len(DOCUMENTS)) for q in range(len(QUERIES)) for r in range(min(depth, candidates))}
    return found | {(q, d) for q, many in POSITIVES.items() for d in many}


def taught(
    folder: Path,
    *teachers: Any,
    cache: MemoryCache | None = None,
    depth: int = 5,
    only: list[str] | None = None,
    given: dict[str, Table] | None = None,
) -> Result:
    config = teach.TeachConfig(teachers=teachers, depth=depth)
    return run(teach, config, given or inputs(), folder, cache=cache, only=only)


def scores(result: Result, title: str) -> dict[tuple[int, int], float | None]:
    rows = [r for r in result.rows("teacher_scores") if r["teacher"] == title]
    found = {(r["query_row"], r["doc_row"]): r["score"] for r in rows}
    assert len(found) == len(rows)
    return found


class Counting(Labelled):
    """A teacher whose score is a hash of the texts; `seen` are the pairs of texts that it was asked for."""

    salt: str = ""

    @property
    def name(self) -> str:
        return "cross_encoder"

    def fingerprint(self) -> str:
        return f"counting{self.salt}"

    def open(self, device: str, cache: Cache, log: Log) -> CountingScorer:
        return CountingScorer(self, cache)


SEEN: list[tuple[str, str]] = []


class CountingScorer:
    def __init__(self, teacher: Counting, cache: Cache) -> None:
        self.teacher, self.cache, self.counts = teacher, cache, {}

    def score(self, pairs: Pairs) -> Scored:
        everything = np.ones(len(pairs), bool)
        return remembered(
            self.cache, self.teacher.fingerprint(), pairs.texts(), everything, chunk=3, score=self.score_texts
        )

    def score_texts(self, pairs: list[tuple[str, str]]) -> Scored:
        SEEN.extend(pairs)
        return Scored(np.array([plain(self.teacher.salt, *pair) for pair in pairs]), np.zeros(len(pairs), bool))


def plain(salt: str, query: str, document: str) -> float:
    """A number from 0 to 1."""
    return hashlib.sha256(f"{salt}|{query}|{document}".encode()).digest()[0] / 255


def there(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
