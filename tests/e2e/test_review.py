"""`hardrock review` with piped keys: what the answers change, what they make stale, and what they leave as it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.e2e.conftest import ROOT, hardrock
from tests.e2e.test_pipeline import runs, table


def review(folder, keys, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "review", "--workspace", "ws", *arguments], cwd=folder, input=keys,
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    return done.stdout


@pytest.fixture
def copy(project, tmp_path):
    shutil.copytree(project, tmp_path / "project", symlinks=True)
    return tmp_path / "project"


def labels(folder):
    return [json.loads(line) for line in (folder / "ws/labels.jsonl").read_text().splitlines()]


def test_the_judge_obeys_an_answer_and_nothing_else_is_made_again(copy):
    ws = copy / "ws"
    said = review(copy, "y?n\nuq", "--count", "5")
    first, second, third = labels(copy)
    assert [line["relevance"] for line in (first, second, third)] == [1, 0, None]
    assert f"1 of 5  {first['query_id']}: " in said
    assert "1 relevant, 1 not, 1 unsure; false negatives 50.0% (9.5% to 90.5%)" in said
    states = {s["stage"]: s for s in json.loads(hardrock("status", "--json", "--workspace", "ws", cwd=copy).stdout)}
    assert states["ingest"]["why"] == ["labels is new or gone"]
    before = runs(ws)
    hardrock("deepen", "--workspace", "ws", cwd=copy)
    after = runs(ws)
    assert {name for name in before if before[name] != after[name]} == {
        "ingest", "round-00/mine", "round-00/teach", "round-00/judge", "round-00/deepen",
    }  # fmt: skip
    asked = {q["query_id"]: q["row"] for q in table(ws, "ingest/queries").to_pylist()}
    docs = {d["doc_id"]: d["row"] for d in table(ws, "ingest/corpus").to_pylist()}
    human = [q for q in table(ws, "ingest/qrels").to_pylist() if q["source"] == "human"]
    assert sorted((q["query_row"], q["doc_row"], q["relevance"]) for q in human) == sorted(
        (asked[line["query_id"]], docs[line["doc_id"]], line["relevance"]) for line in (first, second)
    )
    pair = (asked[first["query_id"]], docs[first["doc_id"]])
    verdicts = {(j["query_row"], j["doc_row"]): j["verdict"] for j in table(ws, "round-00/judge/judged").to_pylist()}
    assert verdicts[pair] == "known_positive"
    assert pair in {(p["query_row"], p["positive_row"]) for p in table(ws, "round-00/mine/positives").to_pylist()}


def test_the_next_review_goes_on_and_an_unsure_answer_makes_nothing_stale(copy):
    review(copy, "uu", "--count", "2")
    states = json.loads(hardrock("status", "--json", "--workspace", "ws", cwd=copy).stdout)
    assert all(state["fresh"] for state in states)
    review(copy, "nn", "--count", "2")  # they are asked again
    said = review(copy, "", "--count", "3")
    assert said.startswith("1 of 3 are open")
    told = json.loads(review(copy, "", "--count", "0", "--json"))
    assert [(one["relevant"], one["not_relevant"], one["unsure"], one["rate"]) for one in told] == [(0, 2, 0, 0.0)]


def test_back_asks_again_and_suspects_come_in_their_order(copy):
    suspects = hardrock("suspects", "--workspace", "ws", "--rows", "2", "--json", cwd=copy).stdout.splitlines()
    review(copy, "nbyn", "--of", "suspects", "--count", "2")
    ids = [(line["query_id"], line["doc_id"]) for line in map(json.loads, suspects)]
    assert [(line["query_id"], line["doc_id"], line["relevance"]) for line in labels(copy)] == [
        (*ids[0], 0), (*ids[0], 1), (*ids[1], 0),
    ]  # fmt: skip


def test_labels_can_be_kept_where_the_configuration_says(copy):
    text = (
        (copy / "hardrock.toml")
        .read_text()
        .replace("[ingest.dataset]", '[ingest]\nlabels = "mine.jsonl"\n\n[ingest.dataset]')
    )
    (copy / "hardrock.toml").write_text(text)
    review(copy, "yq")
    assert not (copy / "ws/labels.jsonl").exists()
    assert len((copy / "mine.jsonl").read_text().splitlines()) == 1
    states = {s["stage"]: s for s in json.loads(hardrock("status", "--json", "--workspace", "ws", cwd=copy).stdout)}
    assert states["ingest"]["why"] == ["labels is new or gone"]
