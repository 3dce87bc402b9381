from __future__ import annotations

import json

import pytest

from stages.errors import InputError, YieldError
from stages.exporters import _lines
from stages.exporters._common import Texts
from stages.exporters.flagembedding import Flagembedding
from tests.export_world import contents, corpus, ids, lines, queries, triplets, world
from tests.support import source

ROWS = [(0, 4, 7), (0, 4, 9), (0, 3, 7), (0, 3, 8), (2, 5, 1)]


def write(inputs, folder, **config):
    return Flagembedding(**config).write(inputs["triplets"], Texts.read(inputs["queries"], inputs["corpus"]), folder)


def docs(*rows):
    return [f"text of document {i}" for i in rows]


def test_a_query_is_one_row_with_each_document_once(tmp_path):
    summary = write(world(ROWS), tmp_path / "x")
    assert lines(tmp_path / "x") == [
        {"query": "text of query 0", "pos": docs(4, 3), "neg": docs(7, 9, 8)},
        {"query": "text of query 2", "pos": docs(5), "neg": docs(1)},
    ]
    assert (summary.rows, summary.files, summary.left_out) == (2, ("data/train.jsonl",), {"repeated_negatives": 1})


def test_the_sidecar_lists_ids_in_the_order_of_the_lists(tmp_path):
    write(world(ROWS), tmp_path / "x")
    assert ids(tmp_path / "x")[0] == {
        "query_id": "q0",
        "positive_ids": ["d4", "d3"],
        "negative_ids": ["d7", "d9", "d8"],
        "query_row": 0,
        "positive_rows": [4, 3],
        "negative_rows": [7, 9, 8],
        "positive_scores": [0.96, 0.97],
        "negative_scores": [0.5 - i / 100 for i in (7, 9, 8)],
        "ranks": [8, 10, 9],
    }
    assert [row["query_id"] for row in ids(tmp_path / "x")] == ["q0", "q2"]


def test_nothing_but_the_data_where_the_loader_reads_a_whole_folder(tmp_path):
    write(world(ROWS), tmp_path / "x")
    assert set(contents(tmp_path / "x")) == {"data/train.jsonl", "ids.parquet", "export.json"}


def test_scores_and_prompts_are_in_all_rows_or_in_none(tmp_path):
    inputs = {**world(ROWS), "queries": source(queries([f"q {i}" for i in range(6)], ["ask: ", *[None] * 5]))}
    write(inputs, tmp_path / "x", scores=True, prompts=True)
    first, second = lines(tmp_path / "x")
    assert (first["pos_scores"], first["neg_scores"]) == ([0.96, 0.97], [0.5 - i / 100 for i in (7, 9, 8)])
    assert [len(first[f"{kind}_scores"]) for kind in ("pos", "neg")] == [len(first["pos"]), len(first["neg"])]
    assert (first["prompt"], second["prompt"]) == ("ask: ", "")
    assert first.keys() == second.keys()
    assert isinstance(second["pos_scores"][0], float)


def test_a_query_with_a_score_missing_is_left_out_and_counted(tmp_path):
    for missing in (None, float("nan")):
        table = triplets(ROWS[:4], positive_score=missing)
        rest = triplets(ROWS[4:])
        inputs = {**world(ROWS), "triplets": source(table, rest)}
        summary = write(inputs, tmp_path / str(missing), scores=True)
        assert [line["query"] for line in lines(tmp_path / str(missing))] == ["text of query 2"]
        assert [row["query_id"] for row in ids(tmp_path / str(missing))] == ["q2"]
        assert summary.left_out["queries_with_a_score_missing"] == 1
        with pytest.raises(YieldError, match="nothing is left"):
            write({**world(ROWS), "triplets": source(table)}, tmp_path / f"{missing} only", scores=True)
        assert write(inputs, tmp_path / f"{missing} without", scores=False).rows == 2


def test_plain_utf8_one_object_a_line(tmp_path):
    text = 'a\u2028b\r\nc\u00e9\U0001f600 "\\'
    inputs = {
        "corpus": source(corpus([text, "two"])),
        "queries": source(queries([text])),
        "triplets": source(triplets([(0, 0, 1)])),
    }
    write(inputs, tmp_path / "x")
    raw = (tmp_path / "x/data/train.jsonl").read_bytes()
    assert raw.count(b"\n") == 1
    assert "\u00e9\U0001f600".encode() in raw
    assert json.loads(raw) == {"query": text, "pos": [text], "neg": ["two"]}


def test_nothing_but_dates_is_refused(tmp_path):
    def dated(*texts):
        return {
            "corpus": source(corpus(["one", "two", "three"])),
            "queries": source(queries(texts)),
            "triplets": source(triplets([(i, 0, 1) for i in range(len(texts))])),
        }

    with pytest.raises(InputError, match="timestamps") as raised:
        write(dated("2020-01-01", "2021-02-03 10:00:00"), tmp_path / "x")
    assert (raised.value.where, raised.value.got) == ("data/train.jsonl, lines 1 to 2", "nothing but dates in query")
    assert write(dated("2020-01-01", "on 2020-01-01"), tmp_path / "y").rows == 2


def test_dates_are_refused_in_each_chunk_that_the_loader_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(_lines.Types, "CHUNK", 100)

    def written(*texts):
        inputs = {
            "corpus": source(corpus(["one", "two"])),
            "queries": source(queries(texts)),
            "triplets": source(triplets([(i, 0, 1) for i in range(len(texts))])),
        }
        return write(inputs, tmp_path / "-".join(texts)[-30:])

    long = "x" * 100
    with pytest.raises(InputError) as raised:
        written(long, "2020-01-01", "2020-01-02")
    assert raised.value.where == "data/train.jsonl, lines 2 to 3"
    assert written(long, "2020-01-01", "other").rows == 3
