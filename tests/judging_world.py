"""Small worlds of documents, queries, judgements and candidates, written out or drawn at random."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random as Generator
from tempfile import gettempdir
from typing import Any

import numpy as np

from stages import judge, sample
from stages.arrays import vector_table
from stages.filters.known_positive import KnownPositive
from stages.filters.relative_margin import RelativeMargin
from stages.filters.same_text import SameText
from stages.registry import build
from stages.schemas import JUDGED
from tests.support import Result, Table, run, source, table

NOWHERE = Path(gettempdir()) / "hardrock-tests"


@dataclass(frozen=True)
class World:
    """A text is a number; `candidates`, `positives` and `qrels` are rows of their tables."""

    doc_texts: list[int]
    query_texts: list[int]
    qrels: list[dict]
    positives: list[dict]
    candidates: list[dict]
    teachers: list[dict] = field(default_factory=list)  # what teach gives as the fact `teachers`
    teacher_scores: list[dict] = field(default_factory=list)

    def words(self, doc: int) -> str:
        """A document's text without its title: near texts share most words, and some differ in case and punctuation alone."""
        return words_of(self.doc_texts[doc])

    def vector(self, doc: int) -> list[float]:
        """A document's vector, which hangs on its text alone; some inner products are just .9."""
        text = self.doc_texts[doc]
        return [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.9, 0.1], [0.9, -0.2], [0.5, 0.5], [1.5, 0.0]][text % 7]

    def group(self, doc: int) -> str | None:
        """A document's group, which hangs on its text alone; some have none."""
        text = self.doc_texts[doc]
        return None if text % 5 == 0 else f"group {text % 4}"

    def inputs(self, cuts: Sequence[int] = ()) -> dict[str, Table]:
        """The tables, with candidates and positives cut into parts before the query rows in `cuts`."""
        bounds = [0, *cuts, len(self.query_texts)]
        return {
            "corpus": source(
                table(
                    "corpus",
                    [
                        {
                            "row": i,
                            "doc_id": f"d{i}",
                            "title": "A title" if text % 3 == 0 else None,
                            "text": self.words(i),
                            "group": self.group(i),
                            "text_hash": text,
                        }
                        for i, text in enumerate(self.doc_texts)
                    ],
                )
            ),
            "queries": source(
                table(
                    "queries",
                    [
                        {
                            "row": i,
                            "query_id": f"q{i}",
                            "text": "",
                            "split": "train",
                            "source": "given",
                            "text_hash": text,
                        }
                        for i, text in enumerate(self.query_texts)
                    ],
                )
            ),
            "corpus_vectors": source(
                vector_table(
                    np.arange(len(self.doc_texts)),
                    np.array([self.vector(i) for i in range(len(self.doc_texts))]).reshape(-1, 2),
                )
            ),
            "qrels": source(table("qrels", sorted(self.qrels, key=lambda j: (j["query_row"], j["doc_row"])))),
            "positives": source(
                *(
                    table("positives", sorted(part, key=lambda p: (p["query_row"], p["positive_row"])))
                    for part in _cut(self.positives, bounds)
                )
            ),
            "candidates": source(
                *(
                    table("candidates", sorted(part, key=lambda c: (c["query_row"], c["rank"])))
                    for part in _cut(self.candidates, bounds)
                )
            ),
            "teacher_scores": source(
                *(
                    table("teacher_scores", sorted(part, key=lambda s: (s["teacher"], s["query_row"], s["doc_row"])))
                    for part in _cut(self.teacher_scores, bounds)
                ),
                teachers=self.teachers,
            ),
        }


WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
ENDINGS = ["", " Eleven.", " eleven twelve", " eleven!", " thirteen", " eleven twelve thirteen fourteen"]


def words_of(text: int) -> str:
    if text >= 100:
        return f"text {text}"
    return "…" if text == 11 else " ".join(WORDS[text // 6 :]) + ENDINGS[text % 6]


def _cut(rows: list[dict], bounds: list[int]) -> list[list[dict]]:
    return [[r for r in rows if start <= r["query_row"] < stop] for start, stop in pairwise(bounds)]


def world(
    documents: int,
    queries: dict[int, dict[str, Any]],
    *,
    doc_texts: dict[int, int] | None = None,
    qrels: Sequence[dict] = (),
) -> World:
    """A world from, for each query, {"positives": {doc: score}, "found": {doc: score}, "text": number}.

    What is found is ranked by score. Texts differ unless given; `qrels` are judgements beside the positives.
    """
    texts = [(doc_texts or {}).get(i, 1000 + i) for i in range(documents)]
    positives = [
        {"query_row": q, "positive_row": d, "score": s, "rank": None}
        for q, each in queries.items()
        for d, s in each.get("positives", {}).items()
    ]
    return World(
        texts,
        [queries.get(i, {}).get("text", 2000 + i) for i in range(max(queries) + 1)],
        [judgement(p["query_row"], p["positive_row"], 1) for p in positives] + list(qrels),
        positives,
        [row for q, each in queries.items() for row in ranked(q, each.get("found", {}))],
    )


def judgement(query: int, doc: int, relevance: int, split: str = "train") -> dict:
    return {"query_row": query, "doc_row": doc, "relevance": relevance, "split": split, "source": "given"}


def ranked(query: int, scores: dict[int, float]) -> list[dict]:
    order = sorted(scores, key=lambda d: (math.isnan(scores[d]), 0 if math.isnan(scores[d]) else -scores[d], d))
    return [
        {"query_row": query, "doc_row": d, "rank": i, "score": scores[d], "retriever": "dense", "found_by": None}
        for i, d in enumerate(order, 1)
    ]


def draw(random: Generator, documents: int = 12, queries: int = 5, depth: int = 8) -> World:
    """A random world: repeated texts, ties, negative scores, scores at the very limits, missing and infinite ones."""
    doc_texts = [random.randrange(documents) for _ in range(documents)]
    query_texts = [
        random.choice([random.randrange(documents), 100 + random.randrange(queries)]) for _ in range(queries)
    ]
    qrels, positives, candidates = [], [], []
    for q in range(queries):
        judged = random.sample(range(documents), random.randrange(min(6, documents + 1)))
        for d in judged:
            relevance = random.choice([-2, 0, 1, 1, 2])
            qrels.append(judgement(q, d, relevance, random.choice(["train", "test"])))
            if relevance > 0:
                positives.append({"query_row": q, "positive_row": d, "score": _positive_score(random), "rank": None})
        limits = [s for p in positives if p["query_row"] == q and (s := p["score"]) is not None and math.isfinite(s)]
        found = random.sample(range(documents), random.randrange(min(depth, documents) + 1))
        candidates += ranked(q, {d: _score(random, limits) for d in found})
    return World(doc_texts, query_texts, qrels, positives, candidates)


def _positive_score(random: Generator) -> float | None:
    if random.randrange(12) == 0:
        return random.choice([None, math.nan, math.inf, -math.inf])
    return random.choice([-0.6, -0.2, 0.0, 0.3, 0.7, 0.9, random.uniform(-1, 1)])


def _score(random: Generator, positives: list[float]) -> float:
    kind = random.randrange(12)
    if kind == 0:
        return random.choice([math.nan, math.inf, -math.inf])
    if kind < 6 and positives:
        p = random.choice(positives)
        limit = random.choice([p - 0.05, p - abs(p) * 0.05, p - 0.2, p - abs(p) * 0.2, p])
        return random.choice([limit, math.nextafter(limit, 2), math.nextafter(limit, -2)])
    return random.choice([-0.7, -0.2, 0.0, 0.3, 0.5, random.uniform(-1, 1)])


SAMPLERS = [
    {"name": "top"},
    {"name": "first"},
    {"name": "random"},
    {"name": "softmax", "top": 5, "temperature": 0.2},
    {"name": "simans", "a": 20.0, "b": 0.1},
    {"name": "log_random"},
    {"name": "stratified", "bands": 3},
]
FILTERS = [
    {"name": "known_positive"},
    {"name": "same_text"},
    {"name": "rank_window", "min": 2, "max": 6},
    {"name": "absolute_margin", "margin": 0.05},
    {"name": "relative_margin", "margin": 0.05},
    {"name": "score_window", "floor": -0.6, "cap": 0.7},
    {"name": "shift", "n": 1},
    {"name": "duplicate_candidate"},
    {"name": "hub", "share": 0.6},
    {"name": "near_duplicate_semantic", "threshold": 0.9},
    {"name": "near_duplicate_lexical", "threshold": 0.75, "unit": "word", "size": 2},
    {"name": "same_group"},
    {"name": "held_out"},
]


def members(filters: Sequence[dict], family: str = "filters") -> tuple:
    return tuple(build(family, f["name"], {k: v for k, v in f.items() if k != "name"}) for f in filters)


def judged(world: World, cuts: Sequence[int] = (), only: Sequence[str] | None = None, **config: Any) -> Result:
    return run(judge, judge.JudgeConfig(**config), world.inputs(cuts), NOWHERE, only=only)


def inputs_of_sample(world: World, cuts: Sequence[int] = (), **config: Any) -> dict[str, Any]:
    strict = {"filters": (KnownPositive(), SameText(), RelativeMargin())}
    made = judged(world, cuts, **strict | config).inputs()
    return {**world.inputs(cuts), **made, "deepened": source(*(JUDGED.empty_table() for _ in made["judged"].parts))}


def sampled(
    inputs: dict[str, Any], only: Sequence[str] | None = None, round: int = 0, min_yield: float = 0, **config: Any
) -> Result:
    return run(sample, sample.SampleConfig(min_yield=min_yield, **config), inputs, NOWHERE, only=only, round=round)


def kept(result: Result) -> set[tuple[int, int | None, int]]:
    """(query, positive, document) of the rows that are kept."""
    return {(r["query_row"], r["positive_row"], r["doc_row"]) for r in result.rows("judged") if r["verdict"] == "kept"}


def verdicts(result: Result) -> dict[tuple[int, int], str]:
    """The verdict of each (query, document), where each comes once."""
    rows = result.rows("judged")
    found = {(r["query_row"], r["doc_row"]): r["verdict"] for r in rows}
    assert len(found) == len(rows)
    return found
