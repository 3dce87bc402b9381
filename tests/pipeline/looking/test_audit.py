"""Every check of the audit, each on a world with one fault: which rows it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.catalog import build, connect
from pipeline.looking.audit import CHECKS, audit, limits
from stages.errors import ArtefactError, ConfigError
from stages.text import text_hash
from tests.export_world import corpus, triplets
from tests.pipeline.test_catalog import stored
from tests.support import table

DOCS = [
    "red apple on a tree",
    "green pear",
    "blue plum",
    "red apple on a tree",
    "Red apple, on a tree!",
    "yellow lemon",
]


def queries(*rows: tuple[str, str]) -> pa.Table:
    return table(
        "queries",
        [
            {
                "row": i,
                "query_id": f"q{i}",
                "text": text,
                "split": split,
                "source": "given",
                "text_hash": text_hash(text),
            }
            for i, (text, split) in enumerate(rows)
        ],
    )


def qrels(*rows: tuple[int, int, int, str]) -> pa.Table:
    return table(
        "qrels",
        [{"query_row": q, "doc_row": d, "relevance": r, "split": s, "source": "given"} for q, d, r, s in rows],
    )


def candidates(*rows: tuple[int, int, int], score: float = 0.5) -> list[dict[str, Any]]:
    return [{"query_row": q, "doc_row": d, "rank": rank, "score": score, "retriever": "dense"} for q, d, rank in rows]


def judged(rows: list[dict[str, Any]], **verdicts: str) -> pa.Table:
    evidence = {"rule": "relative_margin", "value": 0.5, "limit": 0.6}
    return table(
        "judged",
        [
            {**row, "positive_row": 0, "positive_score": 0.9, "evidence": evidence,
             "verdict": verdicts.get(f"d{row['doc_row']}", "kept")}
            for row in rows
        ],
    )  # fmt: skip


FOUND = [(0, 1, 1), (0, 2, 2), (0, 3, 3), (0, 5, 4), (1, 2, 1), (1, 5, 2)]


def sound() -> dict[tuple[str, int | None], pa.Table]:
    """Two training queries with two negatives each, one test query; nothing is wrong but that documents 0 and 3 are one text."""
    found = candidates(*FOUND)
    return {
        ("corpus", None): corpus(DOCS),
        ("queries", None): queries(("an apple", "train"), ("a pear", "train"), ("a plum", "test")),
        ("qrels", None): qrels((0, 0, 1, "train"), (0, 2, 0, "train"), (1, 1, 1, "train"), (2, 2, 1, "test")),
        ("candidates", 0): table("candidates", found),
        ("judged", 0): judged(found),
        ("positives", 0): table(
            "positives", [{"query_row": q, "positive_row": d, "score": 0.9} for q, d in [(0, 0), (1, 1)]]
        ),
        ("triplets", 0): triplets([(0, 0, 1), (0, 0, 2), (1, 1, 2), (1, 1, 5)]),
        ("shortfall", 0): table("shortfall", []),
    }


def audited(
    folder: Path, tables: dict[tuple[str, int | None], pa.Table], near: float = 0.8, *given: str
) -> dict[str, Any]:
    build(folder / "catalog.duckdb", stored(folder, tables))
    with connect(folder / "catalog.duckdb", folder) as connection:
        found, left = audit(connection, limits(given), near)
    assert left == []
    return {one.name: one for one in found}


def test_a_sound_workspace_is_within_every_limit(tmp_path):
    found = audited(tmp_path, sound())
    assert [name for name, one in found.items() if one.beyond] == []
    assert list(found) == [check.name for check in CHECKS]
    assert {name: one.value for name, one in found.items() if one.value} == {
        "duplicates": 1, "hub_share": 1.0, "imbalance": 1.0,
    }  # fmt: skip
    assert found["duplicates"].examples == [{"doc_id": "d3", "first_id": "d0"}]
    assert found["hub_share"].examples[0] == {"round": 0, "doc_id": "d2", "queries": 2, "share": 1.0}


FAULTS = {
    "known_positives": ({("qrels", None): qrels((0, 0, 1, "train"), (0, 2, 1, "train"), (1, 1, 1, "train"))},
                        [{"round": 0, "query_id": "q0", "negative_id": "d2", "source": "given"}]),
    "same_text_as_positive": ({("triplets", 0): triplets([(0, 0, 1), (0, 0, 3)])},
                              [{"round": 0, "query_id": "q0", "negative_id": "d3"}]),
    "repeated_triplets": ({("triplets", 0): triplets([(0, 0, 1), (0, 0, 2), (0, 0, 1)])},
                          [{"round": 0, "query_id": "q0", "positive_id": "d0", "negative_id": "d1", "times": 2}]),
    "not_kept": ({("judged", 0): judged(candidates(*FOUND), d5="hub")},
                 [{"round": 0, "query_id": "q1", "negative_id": "d5"}]),
    "not_finite": ({("triplets", 0): triplets([(0, 0, 1)], negative_score=float("inf"))},
                   [{"table": "triplet_rows", "round": 0, "query_id": "q0", "doc_id": "d1", "score": float("inf")}]),
    "counts": ({("judged", 0): judged(candidates(*FOUND[:4], FOUND[5])),
                ("triplets", 0): triplets([(0, 0, 1), (1, 1, 5)])},
               [{"round": 0, "query_id": "q1", "mined": 2, "judged": 1}]),
    "leaked_queries": ({("queries", None): queries(("an apple", "train"), ("a pear", "train"), ("AN  Apple", "test")),
                        ("qrels", None): qrels((0, 0, 1, "train"), (1, 1, 1, "train"), (2, 4, 1, "test"))},
                       [{"query_id": "q0", "text": "an apple", "other_id": "q2", "split": "test"}]),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_must_not_be_is_found_and_named(tmp_path, name):
    change, cases = FAULTS[name]
    found = audited(tmp_path, sound() | change)
    assert found[name].examples == cases
    assert (found[name].value, found[name].limit, found[name].beyond) == (1, 0, True)
    assert [other for other, one in found.items() if one.beyond] == [name]


def test_a_positive_of_a_query_with_the_same_text_is_known(tmp_path):
    found = audited(tmp_path, sound() | {
        ("queries", None): queries(("an apple", "train"), ("a pear", "train"), ("An apple", "train")),
    })  # fmt: skip
    assert found["known_positives"].examples == [{"round": 0, "query_id": "q0", "negative_id": "d2", "source": "given"}]


def test_positives_of_train_and_test_are_counted_without_a_limit(tmp_path):
    found = audited(
        tmp_path, sound() | {("qrels", None): qrels((0, 0, 1, "train"), (1, 1, 1, "train"), (2, 0, 1, "test"))}
    )
    assert found["leaked_positives"].examples == [{"doc_id": "d0", "train_queries": 1, "other_queries": 1}]
    assert not found["leaked_positives"].beyond


def test_near_duplicates_hang_on_the_share_of_words(tmp_path):
    docs = [*DOCS[:5], "red apple on a big tree"]
    tables = sound() | {("corpus", None): corpus(docs), ("triplets", 0): triplets([(0, 0, 5), (1, 1, 5)])}
    (found,) = [audited(tmp_path, tables, 0.8)["near_duplicates"]]
    assert found.examples == [
        {"round": 0, "query_id": "q0", "negative_id": "d5", "positive_id": "d0", "overlap": 5 / 6}
    ]
    assert audited(tmp_path, tables, 0.9)["near_duplicates"].examples == []


def test_hubs_imbalance_short_pairs_and_queries_without(tmp_path):
    found = audited(tmp_path, sound() | {
        ("triplets", 0): triplets([(0, 0, 1), (0, 0, 2), (0, 0, 5)]),
        ("shortfall", 0): table("shortfall", [{"query_row": 1, "positive_row": 1, "wanted": 3, "got": 0}]),
    }, 0.8, "short_pairs=0.4", "queries-without=0")  # fmt: skip
    assert found["queries_without"].examples == [{"round": 0, "query_id": "q1", "text": "a pear"}]
    assert [(e["query_id"], e["positive_id"], e["wanted"], e["got"]) for e in found["short_pairs"].examples] == [
        ("q1", "d1", 3, 0)
    ]
    assert found["short_pairs"].value == 0.5
    assert {name for name, one in found.items() if one.beyond} == {"short_pairs", "queries_without"}


def test_checks_wait_for_what_is_not_made_yet(tmp_path):
    build(tmp_path / "catalog.duckdb", stored(tmp_path, {("corpus", None): corpus(DOCS)}))
    with connect(tmp_path / "catalog.duckdb", tmp_path) as connection:
        found, left = audit(connection, limits(()), 0.8)
    assert [one.name for one in found] == ["duplicates"]
    assert "known_positives" in left
    build(tmp_path / "catalog.duckdb", [])
    with (
        connect(tmp_path / "catalog.duckdb", tmp_path) as connection,
        pytest.raises(ArtefactError, match="nothing to audit"),
    ):
        audit(connection, limits(()), 0.8)


def test_limits_are_named_and_numbers():
    assert limits(("hub-share=0.1", "known_positives=2"))["known_positives"] == 2
    with pytest.raises(ConfigError) as raised:
        limits(("hub_shares=1",))
    assert "did you mean 'hub_share'" in str(raised.value)
    for wrong in ("hub_share", "hub_share=", "hub_share=many", "hub_share=-1", "hub_share=nan"):
        with pytest.raises(ConfigError, match="a number from 0"):
            limits((wrong,))
