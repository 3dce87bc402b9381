"""From vectors to triplets, all stages together, against brute force in plain Python on odd worlds.

Several positives, copies of documents and of queries, negative scores, ties, scores at the very margin, zero products, one
document, and a depth beyond the corpus; candidates, verdicts and triplets must be those of the reference, row by row.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages import judge, mine, sample
from stages.judge import JudgeConfig
from stages.mine import MineConfig
from stages.sample import SampleConfig
from tests import reference_judge
from tests.judging_world import SAMPLERS, World, judgement, members
from tests.reference import brute_force
from tests.stages.test_mine import inputs_for
from tests.support import run, source, table

RULES = [
    {"name": "known_positive"}, {"name": "same_text"}, {"name": "relative_margin", "margin": 0.25},
    {"name": "absolute_margin", "margin": 0.5}, {"name": "duplicate_candidate"}, {"name": "shift", "n": 1},
    {"name": "score_window", "floor": -2.0, "cap": 3.0},
]  # fmt: skip


@st.composite
def odd(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[int], list[int], list[tuple[int, int, int]]]:
    """Vectors of queries and documents on a grid of quarters, the numbers of their texts, and qrels."""
    d = draw(st.integers(1, 3))
    vector = st.lists(st.integers(-4, 4).map(lambda i: i / 4), min_size=d, max_size=d)
    c = np.array(draw(st.lists(vector, min_size=1, max_size=14)), dtype=np.float32)
    q = np.array(draw(st.lists(vector, min_size=1, max_size=4)), dtype=np.float32)
    documents = [draw(st.integers(0, 8)) for _ in c]  # few numbers: many copies, and some that are a query's
    queries = [draw(st.integers(6, 12)) for _ in q]
    pairs = st.tuples(st.integers(0, len(q) - 1), st.integers(0, len(c) - 1))
    judged = draw(st.dictionaries(pairs, st.integers(-1, 2), max_size=8))
    judged[draw(pairs)] = 1
    return q, c, documents, queries, [(query, doc, relevance) for (query, doc), relevance in sorted(judged.items())]


def expected(problem: Any, depth: int) -> World:
    """The world with the candidates and positives of brute force."""
    q, c, documents, queries, triples = problem
    found, scored = brute_force(q, c, triples, depth)
    return World(
        documents,
        queries,
        [judgement(query, doc, relevance) for query, doc, relevance in triples],
        [{"query_row": a, "positive_row": b, "score": s, "rank": r} for (a, b), (s, r) in scored.items()],
        [
            {"query_row": a, "doc_row": doc, "rank": rank, "score": score, "retriever": "dense", "found_by": None}
            for a, hits in found.items()
            for doc, rank, score in hits
        ],
    )


@given(
    problem=odd(),
    depth=st.integers(1, 20),
    comparison=st.sampled_from(["least_positive", "per_positive"]),
    rules=st.lists(st.sampled_from(RULES), unique_by=lambda rule: rule["name"]),
    sampler=st.sampled_from(SAMPLERS),
    negatives=st.integers(1, 4),
    shard=st.integers(1, 5),
)
def test_every_stage_gives_what_brute_force_gives(*, problem, depth, comparison, rules, sampler, negatives, shard):
    q, c, _, _, triples = problem
    world = expected(problem, depth)
    rules = rules if RULES[0] in rules else [RULES[0], *rules]
    if sampler["name"] == "softmax" and negatives > sampler["top"]:
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = inputs_for(q, c, triples, folder)
        mined = run(mine, MineConfig(depth=depth, shard_queries=shard), inputs, folder)
        inputs |= {key: value for key, value in world.inputs().items() if key in ("corpus", "queries", "qrels")}
        inputs |= mined.inputs()
        parts = len(inputs["candidates"].parts)
        inputs["teacher_scores"] = source(*(table("teacher_scores", []) for _ in range(parts)), teachers=[])
        assert reference_judge.comparable(mined.rows("candidates")) == reference_judge.comparable(world.candidates)
        assert reference_judge.comparable(mined.rows("positives")) == reference_judge.comparable(world.positives)
        inputs |= run(judge, JudgeConfig(comparison=comparison, filters=members(rules)), inputs, folder).inputs()
        rows = reference_judge.judge(world, comparison, rules)
        found = inputs["judged"].read().to_pylist()
        assert reference_judge.comparable(found) == reference_judge.comparable(rows)
        inputs["deepened"] = source(*(table("deepened", []) for _ in range(parts)))
        member = members([sampler], "samplers")[0]
        result = run(sample, SampleConfig(min_yield=0, sampler=member, negatives=negatives, seed=7), inputs, folder)
    triplets, shortfall = reference_judge.sample(
        world, rows, comparison=comparison, sampler=sampler, negatives=negatives, seed=7, round=0
    )
    assert reference_judge.comparable(result.rows("triplets")) == reference_judge.comparable(triplets)
    assert result.rows("shortfall") == shortfall
