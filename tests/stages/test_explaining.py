"""Every filter's answer about one candidate, held beside the verdict that judge stored."""

from __future__ import annotations

import math
from random import Random

import pyarrow.compute as pc
import pytest

from stages.documents import StoredDocuments
from stages.explaining import explain
from stages.verdicts import known_of
from tests.judging_world import FILTERS, draw, judged, members, world


def said(made, query, doc, comparison, filters=FILTERS):
    inputs = made.inputs()
    found, held = inputs["candidates"].read(), inputs["positives"].read(["query_row", "positive_row", "score"])
    return explain(
        comparison,
        members(filters),
        known_of(inputs),
        found.filter(pc.equal(found["query_row"], query)),
        held.filter(pc.equal(held["query_row"], query)),
        doc_row=doc,
        documents=StoredDocuments(inputs),
    )


def close(one, other):
    return one is other is None or math.isclose(one, other, abs_tol=1e-12) or (math.isnan(one) and math.isnan(other))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("comparison", ["least_positive", "per_positive"])
def test_the_first_filter_that_drops_is_the_stored_verdict(seed, comparison):
    """`hub` looks at all queries and the others at one: both must give what the stage gave."""
    made = draw(Random(seed))
    result = judged(made, comparison=comparison, filters=members(FILTERS))
    names = [each["name"] for each in FILTERS]
    for row in result.rows("judged"):
        answers = [
            a for a in said(made, row["query_row"], row["doc_row"], comparison) if a.positive_row == row["positive_row"]
        ]
        assert [a.filter for a in answers] == names
        drops = next((a for a in answers if a.drops), None)
        assert (drops.filter if drops else "kept") == row["verdict"]
        decided = drops or answers[-1]
        assert decided.filter == row["evidence"]["rule"]
        assert close(decided.value, row["evidence"]["value"])
        assert close(decided.limit, row["evidence"]["limit"])


def test_filters_behind_the_one_that_decided_have_their_say():
    made = world(4, {0: {"positives": {0: 0.8}, "found": {0: 0.8, 1: 0.79, 2: 0.3}}})
    filters = [
        {"name": "rank_window", "min": 3},
        {"name": "known_positive"},
        {"name": "relative_margin", "margin": 0.1},
    ]
    assert [(a.filter, a.drops, a.value, a.positive_row) for a in said(made, 0, 1, "least_positive", filters)] == [
        ("rank_window", True, 2.0, 0),
        ("known_positive", False, None, 0),
        ("relative_margin", True, 0.79, 0),
    ]
    assert [a.drops for a in said(made, 0, 2, "least_positive", filters)] == [False, False, False]
    assert said(made, 0, 3, "least_positive", filters) == []


def test_held_against_each_positive_it_answers_for_each():
    made = world(4, {0: {"positives": {0: 0.9, 1: 0.5}, "found": {0: 0.9, 2: 0.6, 1: 0.5}}})
    margin = [{"name": "relative_margin", "margin": 0.1}]
    assert [(a.positive_row, a.positive_score, a.drops) for a in said(made, 0, 2, "per_positive", margin)] == [
        (0, 0.9, False),
        (1, 0.5, True),
    ]
