"""Review: which pairs are drawn, how answers are kept, and what rate follows from them."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from pipeline.catalog import build, connect
from pipeline.looking.review import answered, draw, keep, rates
from stages.errors import StorageError
from tests.export_world import corpus, queries, triplets
from tests.pipeline.test_catalog import judged, stored
from tests.support import table

ROWS = [(0, 0, 1), (0, 5, 1), (0, 0, 2), (1, 4, 3), (1, 4, 2), (1, 4, 0)]
SAMPLED = {("q0", "d1"), ("q0", "d2"), ("q1", "d3"), ("q1", "d2"), ("q1", "d0")}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("review")
    tables = {
        ("corpus", None): corpus([f"text {i}" for i in range(6)]),
        ("queries", None): queries(["first", "second"]),
        ("positives", 0): table("positives", [{"query_row": 0, "positive_row": 0, "score": 0.7, "rank": 1},
                                              {"query_row": 0, "positive_row": 5, "score": 0.9, "rank": 2},
                                              {"query_row": 1, "positive_row": 4, "score": None}]),
        ("judged", 0): judged([(q, d, d + 1, 0.6, 0, "kept", "hub") for q, _, d in ROWS[1:]] +
                              [(1, 5, 6, 0.2, 0, "hub", "hub")]),
        ("triplets", 0): triplets(ROWS),
    }  # fmt: skip
    build(folder / "catalog.duckdb", stored(folder, tables))
    return folder


def drawn(workspace, kind="sampled", count=50, seed=0):
    with connect(workspace / "catalog.duckdb", workspace) as connection:
        return draw(connection, kind, 0, count, seed=seed, result="key")


def pairs(found):
    return [(one["query_id"], one["doc_id"]) for one in found.questions]


def test_every_sampled_negative_can_come_and_each_comes_once(workspace):
    found = drawn(workspace)
    assert set(pairs(found)) == SAMPLED
    assert (len(found.questions), found.population, found.name) == (5, 5, "key-sampled-0")
    first = next(one for one in found.questions if (one["query_id"], one["doc_id"]) == ("q0", "d1"))
    assert (first["query"], first["document"], first["positive_id"], first["rank"]) == ("first", "text 1", "d5", 2)
    assert set(pairs(drawn(workspace, "kept"))) == SAMPLED


def test_a_larger_draw_goes_on_and_another_seed_is_another_order(workspace):
    every = pairs(drawn(workspace))
    assert pairs(drawn(workspace, count=3)) == every[:3]
    assert pairs(drawn(workspace)) == every
    firsts = Counter(pairs(drawn(workspace, count=1, seed=seed))[0] for seed in range(200))
    assert set(firsts) == SAMPLED
    assert min(firsts.values()) > 20  # 40 is even


def test_answers_are_added_and_the_last_holds(workspace, tmp_path):
    found, path = drawn(workspace), tmp_path / "new" / "labels.jsonl"
    for place, relevance in ((0, 1), (1, 0), (0, None), (2, 1)):
        keep(path, found, found.questions[place], relevance)
    assert answered(path) == set(pairs(found)[1:3])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["query_id"], line["doc_id"], line["relevance"]) for line in lines] == [
        (*pairs(found)[place], relevance) for place, relevance in ((0, 1), (1, 0), (0, None), (2, 1))
    ]
    assert {(line["draw"], line["of"], line["population"], line["round"]) for line in lines} == {
        ("key-sampled-0", "sampled", 5, 0)
    }


def test_an_answer_after_a_line_without_an_end_starts_its_own(workspace, tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_text('{"query_id": "q", "doc_id": "d", "relevance": 1}')
    found = drawn(workspace)
    keep(path, found, found.questions[0], 0)
    assert answered(path) == {("q", "d"), pairs(found)[0]}


def test_an_answer_that_cannot_be_kept_says_so(workspace, tmp_path):
    (tmp_path / "labels.jsonl").mkdir()
    found = drawn(workspace)
    with pytest.raises(StorageError, match="cannot be kept"):
        keep(tmp_path / "labels.jsonl", found, found.questions[0], 0)


def line(pair, relevance, draw="key-sampled-0", of="sampled"):
    return {
        "query_id": pair,
        "doc_id": "d",
        "relevance": relevance,
        "draw": draw,
        "of": of,
        "round": 0,
        "population": 90,
    }


def test_the_rate_is_that_of_the_sure_answers_with_wilsons_interval():
    """3 of 10 by Wilson's formula (JASA 1927): 0.1078 to 0.6032."""
    given = [line(f"q{i}", int(i < 3)) for i in range(10)] + [line("x", None), line("q9", 1), line("q9", 0)]
    (found,) = rates(given)
    assert (found["relevant"], found["not_relevant"], found["unsure"], found["rate"]) == (3, 7, 1, 0.3)
    assert (found["low"], found["high"]) == (pytest.approx(0.1078, abs=1e-4), pytest.approx(0.6032, abs=1e-4))
    assert found["population"] == 90


def test_draws_are_counted_apart_and_suspects_have_no_rate():
    found = rates(
        [
            line("a", 1),
            line("b", 1, "key-suspects-0", "suspects"),
            line("c", 0),
            {"query_id": "q", "doc_id": "d", "relevance": 1},
        ]
    )
    assert [(one["draw"], one["relevant"], one["rate"]) for one in found] == [
        ("key-sampled-0", 1, 0.5),
        ("key-suspects-0", 1, None),
    ]
    assert rates([line("a", None)])[0]["rate"] is None
