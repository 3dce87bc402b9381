"""Judging and sampling do no more calls for more rows, queries or documents: what grows with the data is inside numpy and Arrow."""

import cProfile
import pstats

import numpy as np
import pytest

from stages import judge, sample
from tests.judging_world import FILTERS, NOWHERE, SAMPLERS, World, inputs_of_sample, judgement, members
from tests.support import run

DEPTH, DOCUMENTS = 20, 600
TEACHERS = [{"title": "ce", "name": "cross_encoder"}]
ASKING = [
    {"name": "cross_encoder_threshold", "negative": 2.0, "positive": 3.0},
    {"name": "cross_encoder_margin"},
    {"name": "ecdf", "beta": 1.0},
    {"name": "consensus"},
]


def grown(queries: int) -> World:
    """Queries with two positives and `DEPTH` candidates each, of which a teacher scores all."""
    chance = np.random.default_rng(0)
    qrels, positives, candidates, scores = [], [], [], []
    for q in range(queries):
        docs = chance.choice(DOCUMENTS, DEPTH, replace=False).tolist()
        values = np.sort(chance.normal(0.5, 0.1, DEPTH))[::-1].tolist()
        for place in (2, 9):
            qrels.append(judgement(q, docs[place], 1))
            positives.append({"query_row": q, "positive_row": docs[place], "score": values[place], "rank": place + 1})
        for rank, (doc, value) in enumerate(zip(docs, values, strict=True), 1):
            candidates.append({"query_row": q, "doc_row": doc, "rank": rank, "score": value, "retriever": "dense"})
            scores.append({"query_row": q, "doc_row": doc, "teacher": "ce", "score": value})
    texts = [200 + i // 2 for i in range(DOCUMENTS)]
    return World(texts, [10_000 + q for q in range(queries)], qrels, positives, candidates, TEACHERS, scores)


def calls(work) -> int:
    profile = cProfile.Profile()
    profile.runcall(work)
    return pstats.Stats(profile).total_calls  # type: ignore[attr-defined]


@pytest.mark.parametrize("comparison", ["least_positive", "per_positive"])
@pytest.mark.parametrize("rule", [*FILTERS, *ASKING], ids=lambda rule: rule["name"])
def test_a_filter(comparison, rule):
    config = judge.JudgeConfig(comparison=comparison, filters=members([rule]))
    few, many = (grown(queries).inputs() for queries in (30, 300))
    run(judge, config, few, NOWHERE)  # what is imported or compiled once
    assert (
        calls(lambda: run(judge, config, many, NOWHERE)) < 1.3 * calls(lambda: run(judge, config, few, NOWHERE)) + 200
    )


@pytest.mark.parametrize("comparison", ["least_positive", "per_positive"])
@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda rule: rule["name"])
def test_a_sampler(comparison, sampler):
    config = sample.SampleConfig(min_yield=0, sampler=members([sampler], "samplers")[0], negatives=3)
    few, many = (inputs_of_sample(grown(queries), comparison=comparison, filters=()) for queries in (30, 300))
    run(sample, config, few, NOWHERE)
    assert (
        calls(lambda: run(sample, config, many, NOWHERE)) < 1.3 * calls(lambda: run(sample, config, few, NOWHERE)) + 200
    )
