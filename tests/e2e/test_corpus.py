"""configs/corpus.toml from documents alone to measured real queries, on one small chapter."""

from __future__ import annotations

import json

import pyarrow.dataset as ds
import pytest

from tests.e2e.conftest import ROOT, hardrock

SMALL = "--set", "ingest.dataset.base.chapters=[3]"


def table(folder, name):
    return ds.dataset(sorted(map(str, folder.glob(f"{name}-*.parquet")))).to_table().to_pylist()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    hardrock("run", "--config", str(ROOT / "configs/corpus.toml"), "--workspace", "ws", *SMALL, cwd=folder)
    return folder / "ws"


def test_made_queries_train_and_real_ones_measure(workspace):
    queries = table(workspace / "ingest", "queries")
    assert {(row["split"], row["source"]) for row in queries} == {
        ("train", "crop"),
        ("dev", "given"),
        ("test", "given"),
    }
    documents = {row["row"]: row["text"] for row in table(workspace / "ingest", "corpus")}
    texts = {row["row"]: row for row in queries}
    for row in table(workspace / "ingest", "qrels"):
        query = texts[row["query_row"]]
        assert row["source"] == query["source"]
        assert query["source"] == "given" or query["text"].lower() in " ".join(
            documents[row["doc_row"]].lower().split()
        )
    mined = {row["query_row"] for row in table(workspace / "round-00/sample", "triplets")}
    assert mined <= {row["row"] for row in queries if row["split"] == "train"}
    measured = json.loads((workspace / "report/metrics.json").read_text())
    assert 0 < measured["round-00.dense.test.nDCG@10"] < 1
    assert 0 < measured["round-01.dense.test.nDCG@10"] < 1
    counters = json.loads((workspace / "ingest/manifest.json").read_text())["counters"]
    assert counters["views.crop.queries"] == sum(row["source"] == "crop" for row in queries)


def test_another_view_makes_ingest_stale_and_a_second_run_does_nothing(workspace):
    where = ("--config", str(ROOT / "configs/corpus.toml"), "--workspace", "ws", *SMALL)
    assert "ingest" not in hardrock("plan", *where, cwd=workspace.parent).stdout
    said = hardrock("plan", *where, "--set", "ingest.dataset.views.crop.crops=4", cwd=workspace.parent).stdout
    assert "crops 3 → 4" in said
