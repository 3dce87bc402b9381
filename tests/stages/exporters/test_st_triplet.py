from __future__ import annotations

import hashlib
import json

import pyarrow.parquet as pq
import pytest

from stages.errors import InputError, YieldError
from stages.exporters._common import Texts
from stages.exporters.st_triplet import StTriplet
from tests.export_world import contents, corpus, data, ids, queries, triplets, world
from tests.support import source

ROWS = [(0, 3, 7), (0, 3, 9), (0, 4, 7), (2, 5, 1)]


def write(inputs, folder, **config):
    return StTriplet(**config).write(inputs["triplets"], Texts.read(inputs["queries"], inputs["corpus"]), folder)


def test_each_triplet_is_a_row_of_its_own_texts(tmp_path):
    summary = write(world(ROWS), tmp_path / "x")
    assert data(tmp_path / "x") == [
        {"anchor": f"text of query {q}", "positive": f"text of document {p}", "negative": f"text of document {n}"}
        for q, p, n in ROWS
    ]
    assert (summary.rows, summary.files, summary.left_out) == (4, ("data/train-00000-of-00001.parquet",), {})


def test_the_sidecar_has_ids_scores_and_ranks_in_the_same_order(tmp_path):
    write(world(ROWS), tmp_path / "x")
    assert ids(tmp_path / "x") == [
        {
            "query_id": f"q{q}",
            "positive_id": f"d{p}",
            "negative_id": f"d{n}",
            "query_row": q,
            "positive_row": p,
            "negative_row": n,
            "positive_score": 1 - p / 100,
            "negative_score": 0.5 - n / 100,
            "rank": n + 1,
            "sampler": "top",
            "seed": 13,
            "round": 0,
        }
        for q, p, n in ROWS
    ]


def test_only_texts_in_the_data_in_the_order_that_the_trainer_reads(tmp_path):
    write(world(ROWS), tmp_path / "x")
    schema = pq.read_schema(tmp_path / "x/data/train-00000-of-00001.parquet")
    assert schema.names == ["anchor", "positive", "negative"]
    assert {str(f.type) for f in schema} == {"string"}


def test_titles_and_prompts(tmp_path):
    inputs = {
        "corpus": source(corpus(["one", "two"], ["First", None])),
        "queries": source(queries(["ask", "more"], ["find: ", None])),
        "triplets": source(triplets([(0, 0, 1), (1, 1, 0)])),
    }
    write(inputs, tmp_path / "without")
    write(inputs, tmp_path / "with", prompts=True)
    assert data(tmp_path / "without")[0] == {"anchor": "ask", "positive": "First one", "negative": "two"}
    assert [row["anchor"] for row in data(tmp_path / "with")] == ["find: ask", "more"]


def test_more_files_above_the_limit_named_with_their_number(tmp_path):
    rows = [(0, 3, n) for n in range(4, 11)]
    summary = write(world(rows), tmp_path / "x", rows_per_file=3)
    assert summary.files == tuple(f"data/train-0000{i}-of-00003.parquet" for i in range(3))
    assert [pq.read_metadata(tmp_path / "x" / name).num_rows for name in summary.files] == [3, 3, 1]
    assert [row["negative"] for row in data(tmp_path / "x")] == [f"text of document {n}" for n in range(4, 11)]
    assert len(ids(tmp_path / "x")) == 7


def test_the_description_matches_the_files_and_holds_no_time(tmp_path):
    write(world(ROWS), tmp_path / "x")
    write(world(ROWS), tmp_path / "y")
    assert contents(tmp_path / "x") == contents(tmp_path / "y")
    described = json.loads((tmp_path / "x/export.json").read_text("utf-8"))
    assert described["target"] == "st_triplet"
    assert described["rows"] == 4
    assert described["config"] == {"name": "st_triplet", "prompts": False, "rows_per_file": 500_000}
    for name, file in described["files"].items():
        content = (tmp_path / "x" / name).read_bytes()
        assert file == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert set(contents(tmp_path / "x")) == {*described["files"], "export.json"}


def test_any_parts_give_the_same_bytes(tmp_path):
    rows = [(q, 3, n) for q in range(6) for n in range(4, 30)] * 40
    inputs = world(rows)
    write(inputs, tmp_path / "one")
    whole = inputs["triplets"].read()
    cut = {**inputs, "triplets": source(whole.slice(0, 17), whole.slice(17, 3_000), whole.slice(3_017))}
    write(cut, tmp_path / "many")
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


def test_no_triplets_and_unusable_texts_are_refused(tmp_path):
    with pytest.raises(YieldError, match="no triplets"):
        write(world([]), tmp_path / "none")
    inputs = {**world(ROWS), "corpus": source(corpus([" " if i == 7 else "x" for i in range(30)]))}
    with pytest.raises(InputError, match="blank") as raised:
        write(inputs, tmp_path / "blank")
    assert raised.value.where == "id 'd7'"


def test_a_missing_score_stays_a_null(tmp_path):
    inputs = {**world(ROWS), "triplets": source(triplets(ROWS, positive_score=None))}
    write(inputs, tmp_path / "x")
    assert {row["positive_score"] for row in ids(tmp_path / "x")} == {None}
