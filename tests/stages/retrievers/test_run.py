"""A TREC run that is given: round trip, order, ids, faults."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.errors import InputError
from stages.retrievers.run import Run
from stages.trec import escaped, falling, run_lines
from tests.models import corpus, queries
from tests.retrieval_world import DOCUMENTS, QUERIES, collection, hits
from tests.support import source, table


def opened(folder: Path, text: str, rows: list[int] | None = None, **fields: object):
    path = folder / "given.run"
    path.write_text(text)
    return Run(path=str(path), **fields).open(collection(folder, rows))


def test_a_run_that_was_written_is_read_back(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    rows = np.stack([chance.permutation(12)[:6] for _ in range(5)]).astype(np.int32)
    rows[2], rows[4, 3:] = -1, -1
    scores = np.where(rows < 0, -np.inf, -np.sort(chance.integers(0, 3, rows.shape) / 2.0))
    names = {"corpus": [f"doc {i}%" if i % 2 else f"d{i}" for i in range(12)], "queries": [f"q\t{i}" for i in range(5)]}
    given = {
        "corpus": source(table("corpus", [
            {"row": i, "doc_id": name, "text": "", "text_hash": i} for i, name in enumerate(names["corpus"])
        ])),
        "queries": source(table("queries", [
            {"row": i, "query_id": name, "text": "", "split": "train", "source": "given", "text_hash": i}
            for i, name in enumerate(names["queries"])
        ])),
    }  # fmt: skip
    ids = [escaped(pa.array(names[name], pa.large_string()))[0] for name in ("queries", "corpus")]
    path = tmp_path / "ours.run.gz"
    path.write_bytes(gzip.compress(b"".join(run_lines(*ids, rows, falling(scores), "ours"))))
    found = Run(path=str(path)).open(collection(tmp_path, **given)).search(np.arange(5), 6)
    assert np.array_equal(found[0], rows)
    assert np.allclose(found[1], scores)


def test_hits_come_by_score_then_rank_then_row(tmp_path: Path) -> None:
    index = opened(tmp_path, "q1 Q0 d5 2 1.5 t\nq1 Q0 d9 1 1.5 t\nq1\tQ0\td2 3 7 t\n\nq0 d3 1\nq0 d1 1\nq0 d8 2\n")
    assert hits(index.search(np.array([1, 0, 2]), 3)) == [[2, 9, 5], [8, 1, 3], []]
    assert hits(index.search(np.array([0]), 2)) == [[8, 1]]


def test_only_queries_that_are_asked_take_part(tmp_path: Path) -> None:
    index = opened(tmp_path, "q0 d1 1\nq2 d2 1\nq4 d3 1\nq2 d7 3\n", [2, 3])
    assert hits(index.search(np.array([0, 1]), 3)) == [[7, 2], []]
    assert index.counts == {"unknown": 0, "of_other_queries": 2}


def test_unknown_ids_stop_unless_they_are_allowed(tmp_path: Path) -> None:
    text = "q0 d1 1\nq0 d99 2\nq77 d1 3\n"
    with pytest.raises(InputError, match="not in the data") as caught:
        opened(tmp_path, text, allowed_unknown=1)
    assert caught.value.got == "2 of 3 lines; line 2: document d99; line 3: query q77"
    index = opened(tmp_path, text, allowed_unknown=2)
    assert hits(index.search(np.array([0]), 3)) == [[1]]
    assert index.counts["unknown"] == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("q0 Q0 d1 1 2\n", "not a line"),
        ("q0 Q0 d1 one 2 t\n", "not a line"),
        ("q0 d1 high\n", "not a line"),
        ("q0 d1 nan\n", "finite"),
        ("q0 d1 inf\n", "finite"),
        ("q0 d1 1\nq0 d1 2\n", "twice"),
    ],
)
def test_faults_are_told(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        opened(tmp_path, text)


def test_the_file_is_known_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "a.run"
    with pytest.raises(InputError, match="not there"):
        Run(path=str(path)).fingerprint()
    path.write_text("q0 d1 1\n")
    first = Run(path=str(path)).fingerprint()
    path.write_text("q0 d1 22\n")
    assert Run(path=str(path)).fingerprint() != first
    (tmp_path / "b.run").write_text("q0 d1 1\n")
    assert Run(path=str(tmp_path / "b.run")).fingerprint() == first


def test_an_empty_run_finds_nothing(tmp_path: Path) -> None:
    assert hits(opened(tmp_path, "").search(np.arange(len(QUERIES)), 3)) == [[]] * len(QUERIES)
    assert corpus(DOCUMENTS).rows == 12
    assert queries(QUERIES).rows == 5


IN_ORDER = [(0, [3, 1, 2], [1, 1 / 2, 1 / 3]), (4, [7], [1])]
LISTS = [{"query-id": "q0", "corpus-ids": ["d3", "d1", "d2"]}, {"query-id": "q4", "corpus-ids": ["d7"]}]
SCORED = [{"query_id": "q0", "document_ids": ["d1", "d2", "d3"], "scores": [2, -0.5, 7.25]}]


@pytest.mark.parametrize(
    "text",
    [
        "q0 d3\nq0\td1\nq4 d7\nq0 d2\n",
        "q0\td3\twhat is it\tit is\nq0\td1\twhat is it\tthat\nq4\td7\t7\t7 8 9\nq0\td2\ta b c d\te\n",
        "".join(json.dumps(row) + "\n" for row in LISTS),
    ],
    ids=["two fields", "top1000", "top_ranked"],
)
def test_hits_without_scores_are_in_the_order_of_the_file(tmp_path: Path, text: str) -> None:
    found = opened(tmp_path, text).search(np.arange(5), 4)
    for query, rows, scores in IN_ORDER:
        assert found[0][query].tolist() == rows + [-1] * (4 - len(rows))
        assert found[1][query, : len(rows)].tolist() == scores
    assert not (found[0][[1, 2, 3]] >= 0).any()


@pytest.mark.parametrize("parquet", [False, True])
def test_lists_of_ids_with_scores(tmp_path: Path, parquet: bool) -> None:
    path = tmp_path / ("hits.parquet" if parquet else "hits.jsonl")
    if parquet:
        pq.write_table(pa.Table.from_pylist(SCORED), path)
    else:
        path.write_text("\n".join(map(json.dumps, SCORED)))
    rows, scores = Run(path=str(path)).open(collection(tmp_path)).search(np.array([0]), 4)
    assert rows.tolist() == [[3, 1, 2, -1]]
    assert scores[0, :3].tolist() == [7.25, 2, -0.5]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("q0 d1\nq0 d2 0.5\n", "some hits have a score and others none\n.*line 2\n.*q0 d2"),
        ("q0 d1 1\nq0 d2\n", "some hits have a score and others none"),
        ('{"query_id": "q0", "document_ids": ["d1"], "scores": [1, 2]}', "as many scores as documents"),
        ('{"query_id": "q0", "document_ids": "d1"}', "not a line of a TREC run"),
        ('{"query_id": "q0", "document_ids": [1]}', "not a line of a TREC run"),
        ('{"query_id": "q0", "document_ids": ["d1"], "scores": ["1"]}', "not a line of a TREC run"),
        ('{"query_id": "q0", "document_ids": ["d1"], "scores": [true]}', "not a line of a TREC run"),
        ('{"query_id": "q0", "document_ids": ["d1"], "scores": [1e999]}', "not a finite number"),
        ('{"query_id": "q0", "document_ids": ["d1"], "scores": [1' + "0" * 400 + "]}", "not a finite number"),
        ('{"query_id": "q0"', "not a line of a TREC run"),
        ("q0 d1\nq0 d1\n", "names a document twice"),
    ],
)
def test_lists_that_say_something_else_are_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        opened(tmp_path, text)
