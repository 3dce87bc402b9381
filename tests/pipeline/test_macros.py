"""The macros of the catalog, on rows written out by hand: which documents they name, and with which numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.catalog import build, connect, query
from tests.export_world import corpus, queries
from tests.pipeline.test_catalog import stored
from tests.support import table

DOCS = [
    "fracture of left femur",  # 0, positive of q0
    "fracture of right femur",  # 1, worded like 0
    "a broken thigh bone",  # 2, a teacher prefers it
    "burn of left hand",  # 3, relevant to q1 as 0 is
    "sepsis of unknown cause",  # 4, far away
    "scald of the wrist",  # 5, positive of q2
]


def judged(*rows: tuple[int, int, int, float, float | None, str]) -> Any:
    return table(
        "judged",
        [
            {
                "query_row": q, "doc_row": d, "rank": rank, "score": score, "retriever": "dense",
                "positive_row": None if p is None else (0 if q == 0 else 5), "positive_score": p, "verdict": verdict,
                "evidence": {"rule": "relative_margin" if verdict == "kept" else verdict, "value": score, "limit": 0.75},
            }
            for q, d, rank, score, p, verdict in rows
        ],
    )  # fmt: skip


def taught(*rows: tuple[int, int, float | None]) -> Any:
    return table(
        "teacher_scores", [{"query_row": q, "doc_row": d, "teacher": "big", "score": score} for q, d, score in rows]
    )


TABLES = {
    ("corpus", None): corpus(DOCS),
    ("queries", None): queries(["broken femur", "injuries", "burnt wrist"]),
    ("qrels", None): table(
        "qrels",
        [
            {"query_row": q, "doc_row": d, "relevance": relevance, "split": "train", "source": "given"}
            for q, d, relevance in [(0, 0, 1), (0, 4, 0), (1, 0, 1), (1, 3, 1), (2, 5, 1)]
        ],
    ),
    ("positives", 0): table(
        "positives",
        [
            {"query_row": 0, "positive_row": 0, "score": 0.8, "rank": 1},
            {"query_row": 2, "positive_row": 5, "score": -0.5, "rank": 2},
        ],
    ),
    ("positives", 1): table("positives", [{"query_row": 0, "positive_row": 0, "score": 0.8, "rank": 1}]),
    ("judged", 0): judged(
        (0, 0, 1, 0.8, 0.8, "known_positive"),
        (0, 1, 2, 0.76, 0.8, "kept"),
        (0, 5, 3, 0.75, 0.8, "relative_margin"),
        (0, 2, 4, 0.6, 0.8, "kept"),
        (0, 3, 5, 0.5, 0.8, "kept"),
        (0, 4, 6, 0.4, 0.8, "kept"),
        (2, 4, 1, -0.4, -0.5, "relative_margin"),
    ),
    ("judged", 1): judged(
        (0, 0, 1, 0.9, 0.9, "known_positive"),
        (0, 1, 2, 0.88, 0.9, "relative_margin"),
        (0, 3, 3, 0.5, 0.9, "kept"),
        (0, 4, 4, 0.4, 0.9, "kept"),
    ),
    ("teacher_scores", 0): taught((0, 0, 0.9), (0, 1, 0.2), (0, 2, 0.95), (0, 4, None)),
    ("teacher_scores", 1): taught(),
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("macros")
    build(folder / "catalog.duckdb", stored(folder, TABLES))
    return folder


def ask(workspace: Path, sql: str) -> list[dict[str, Any]]:
    with connect(workspace / "catalog.duckdb", workspace) as connection:
        names, rows = query(connection, sql)
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_suspects_come_by_their_signs_and_then_by_how_near_they_are(workspace):
    rows = ask(workspace, "FROM fn_suspects() WHERE round = 0")
    assert [(r["query_id"], r["doc_id"], r["signs"]) for r in rows] == [
        ("q0", "d1", "wording, near"),
        ("q0", "d2", "teacher"),
        ("q0", "d3", "shared query"),
    ]
    first = rows[0]
    assert (first["document"], first["positive_id"], first["positive"]) == (DOCS[1], "d0", DOCS[0])
    assert first["overlap"] == 3 / 5
    assert first["gap"] == pytest.approx(0.05)
    assert (first["teachers_above"], first["teachers"]) == (0, 1)
    assert (rows[1]["teachers_above"], rows[1]["teachers"]) == (1, 1)
    assert rows[2]["teachers"] is None


def test_a_pool_takes_the_nearest_of_each_round(workspace):
    assert [(r["round"], r["doc_id"]) for r in ask(workspace, "FROM fn_suspects(pool := 1)")] == [(0, "d1"), (1, "d3")]


def test_a_document_that_a_filter_dropped_is_no_suspect(workspace):
    assert [r["doc_id"] for r in ask(workspace, "FROM fn_suspects() WHERE round = 1")] == ["d3"]


def test_why_gives_what_is_stored_of_one_pair_in_each_round(workspace):
    first, second = ask(workspace, "FROM why('q0', 'd1')")
    assert (first["verdict"], first["rule"], first["value"], first["limit"]) == ("kept", "relative_margin", 0.76, 0.75)
    assert (first["rank"], first["positive_id"], first["positive_score"]) == (2, "d0", 0.8)
    assert first["gap"] == pytest.approx(0.05)
    assert first["teachers"] == [{"teacher": "big", "score": 0.2, "positive": 0.9}]
    assert first["relevance"] is None
    assert (second["verdict"], second["rank"], second["teachers"]) == ("relative_margin", 2, None)


def test_why_tells_what_is_judged_and_what_was_never_found(workspace):
    known = ask(workspace, "FROM why('q0', 'd0') WHERE round = 0")
    assert [(r["verdict"], r["relevance"], r["source"]) for r in known] == [("known_positive", 1, "given")]
    irrelevant = ask(workspace, "FROM why('q0', 'd4') WHERE round = 0")
    assert [(r["verdict"], r["relevance"]) for r in irrelevant] == [("kept", 0)]
    absent = ask(workspace, "FROM why('q0', 'd2') WHERE round = 1")
    assert [(r["verdict"], r["rank"]) for r in absent] == [("not a candidate", None)]
    beyond = ask(workspace, "FROM why('q2', 'd5') WHERE round = 0")
    assert [(r["verdict"], r["rank"], r["score"]) for r in beyond] == [("positive", 2, -0.5)]
    assert ask(workspace, "FROM why('q0', 'nothing')") == []


def test_what_if_counts_what_each_margin_would_keep(workspace):
    """By hand: 0.8 · (1 − m) is 0.8, 0.72 and 0.4; of q2, −0.5 · (1 + m) is never reached."""
    rows = ask(workspace, "FROM what_if([0.0, 0.1, 0.5]) WHERE round = 0")
    assert [(r["margin"], r["stored"], r["kept"], r["gained"], r["lost"], r["queries_without"]) for r in rows] == [
        (0.0, 4, 5, 1, 0, 1),
        (0.1, 4, 3, 0, 1, 1),
        (0.5, 4, 1, 0, 3, 1),
    ]


def test_gap_hist_puts_each_candidate_in_its_band(workspace):
    rows = ask(workspace, "FROM gap_hist(width := 0.25) WHERE round = 0")
    assert [(r["lower"], r["upper"], r["verdict"], r["candidates"]) for r in rows] == [
        (-0.25, 0.0, "relative_margin", 1),
        (0.0, 0.25, "kept", 1),
        (0.0, 0.25, "known_positive", 1),
        (0.0, 0.25, "relative_margin", 1),
        (0.25, 0.5, "kept", 2),
        (0.5, 0.75, "kept", 1),
    ]


def test_coverage_counts_queries_that_keep_nothing(workspace):
    assert ask(workspace, "FROM coverage() WHERE round = 0") == [
        {"round": 0, "queries": 2, "queries_without": 1, "least": 0, "median": 2.0, "mean": 2.0, "most": 4,
         "documents": 6, "documents_kept": 4, "corpus_kept": 4 / 6}
    ]  # fmt: skip


def test_hubs_are_candidates_of_the_most_queries(workspace):
    rows = ask(workspace, "FROM hubs(top := 2) WHERE round = 0")
    assert [(r["doc_id"], r["queries"], r["queries_kept"], r["share"], r["document"]) for r in rows] == [
        ("d4", 2, 1, 1.0, DOCS[4]),
        ("d0", 1, 0, 0.5, DOCS[0]),
    ]


def test_diff_names_what_changed_between_two_rounds_for_the_queries_of_both(workspace):
    rows = ask(workspace, "FROM diff(0, 1)")
    assert [(r["query_id"], r["doc_id"], r["before"], r["after"], r["rank_before"], r["rank_after"]) for r in rows] == [
        ("q0", "d1", "kept", "relative_margin", 2, 2),
        ("q0", "d5", "relative_margin", None, 3, None),
        ("q0", "d2", "kept", None, 4, None),
    ]
    assert ask(workspace, "FROM diff(1, 1)") == []


def test_every_macro_is_described(workspace):
    says = ask(workspace, "SELECT DISTINCT function_name AS name, comment FROM duckdb_functions() WHERE comment IS NOT NULL "
               "AND function_type = 'table_macro'")  # fmt: skip
    assert {row["name"] for row in says} == {
        "show_query", "why", "what_if", "gap_hist", "coverage", "hubs", "drop_reasons", "fn_suspects", "diff",
    }  # fmt: skip
