"""The commands that look, in processes of their own, over the run of tests/e2e/conftest.py."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.e2e.conftest import ROOT, hardrock
from tests.e2e.test_pipeline import table

WS = ("--workspace", "ws")


def answer(project, *arguments: str):
    return json.loads(hardrock(*arguments, *WS, "--json", cwd=project).stdout)


@pytest.fixture(scope="module")
def world(project):
    """Documents and queries by row, judged rows by query and rank."""
    ws = project / "ws"
    judged = table(ws, "round-00/judge/judged").to_pylist() + table(ws, "round-00/deepen/deepened").to_pylist()
    return {
        "docs": {d["row"]: d for d in table(ws, "ingest/corpus").to_pylist()},
        "queries": {q["row"]: q for q in table(ws, "ingest/queries").to_pylist()},
        "judged": sorted(judged, key=lambda j: (j["query_row"], j["rank"])),
    }


def test_show_has_every_candidate_in_rank_order_with_its_verdict(project, world):
    found = answer(project, "show", "q0000", "--rows", "1000")
    (row,) = (q["row"] for q in world["queries"].values() if q["query_id"] == "q0000")
    mine = [j for j in world["judged"] if j["query_row"] == row]
    ids = {r: d["doc_id"] for r, d in world["docs"].items()}
    assert [
        (c["rank"], c["doc_id"], c["score"], c["verdict"], c["value"], c["limit"]) for c in found["candidates"]
    ] == [
        (j["rank"], ids[j["doc_row"]], j["score"], j["verdict"], j["evidence"]["value"], j["evidence"]["limit"])
        for j in mine
    ]
    assert [(p["doc_id"], p["rank"]) for p in found["positives"]] == [("00010", 1), ("00000", 10)]
    assert (found["query_id"], found["text"], found["split"]) == ("q0000", "broken femur initial", "train")


def test_show_in_a_pipe_is_plain_and_finds_a_query_by_its_text(project):
    said = hardrock("show", *WS, "broken femur initial", "--rows", "2", cwd=project).stdout.split("\n")
    assert said[0] == "q0000 (train): broken femur initial"
    assert said[1] == "doc_id\tscore\trank\ttext"
    assert said[5] == "rank\tscore\tverdict\tdoc_id\tvalue\tlimit\ttext"
    assert [line.split("\t")[:4:2] for line in said[6:8]] == [["1", "known_positive"], ["2", "relative_margin"]]
    assert said[8:] == [""]


def test_why_gives_every_filter_its_say(project, world):
    found = answer(project, "why", "q0000", "40020")
    assert (found["verdict"], found["stored"][0]["rank"], found["sampled_for"]) == ("kept", 17, ["00000", "00010"])
    score, positive = found["stored"][0]["score"], found["stored"][0]["positive_score"]
    assert [(f["filter"], f["says"], f["value"], f["limit"]) for f in found["filters"]] == [
        ("known_positive", "pass", None, 0),
        ("same_text", "pass", None, None),
        ("rank_window", "pass", 17, 50),
        ("relative_margin", "pass", score, pytest.approx(positive * 0.95)),
    ]
    dropped = answer(project, "why", "q0000", "00010")
    assert dropped["verdict"] == "known_positive"
    assert [f["filter"] for f in dropped["filters"] if f["says"] == "drop"] == [
        "known_positive", "same_text", "relative_margin",
    ]  # fmt: skip
    assert (dropped["stored"][0]["relevance"], dropped["stored"][0]["source"]) == (1, "given")


def test_why_says_how_far_away_a_document_is_that_was_not_found(project):
    found = answer(project, "why", "q0000", "40200")
    assert (found["verdict"], found["filters"]) == ("not a candidate", [])
    assert found["beyond"]["last_rank"] == 60
    assert found["beyond"]["score"] < found["beyond"]["last_score"]
    said = hardrock("why", "q0000", "40200", *WS, cwd=project).stdout
    assert "verdict   not a candidate, round 0" in said
    lost = hardrock("why", "q0000", "4020", *WS, cwd=project, check=False)
    assert (lost.returncode, "40200" in lost.stderr) == (3, True)


def test_suspects_are_those_of_a_plain_reading(project, world):
    """In Python, from the stored rows: wording is half of the words of any positive, near a gap of 10%."""
    positives: dict[int, list[int]] = {}
    for qrel in table(project / "ws", "ingest/qrels").to_pylist():
        positives.setdefault(qrel["query_row"], []).append(qrel["doc_row"])
    words = {
        row: set(f"{d['title'] or ''} {d['text']}".lower().replace(",", " ").split())
        for row, d in world["docs"].items()
    }
    expected = []
    for j in world["judged"]:
        if j["verdict"] != "kept":
            continue
        mine = words[j["doc_row"]]
        overlap = max(len(mine & words[p]) / len(mine | words[p]) for p in positives[j["query_row"]])
        gap = (j["positive_score"] - j["score"]) / abs(j["positive_score"])
        signs = [sign for sign, there in (("wording", overlap >= 0.5), ("near", gap <= 0.1)) if there]
        if signs:
            ids = world["queries"][j["query_row"]]["query_id"], world["docs"][j["doc_row"]]["doc_id"]
            expected.append((-len(signs), gap, j["query_row"], j["doc_row"], *ids, ", ".join(signs)))
    said = hardrock("suspects", *WS, "--json", "--rows", "50", cwd=project).stdout
    found = [json.loads(line) for line in said.splitlines()]
    assert [(f["query_id"], f["doc_id"], f["signs"]) for f in found] == [e[4:] for e in sorted(expected)[:50]]
    sampled = {
        (t["query_row"], t["negative_row"]) for t in table(project / "ws", "round-00/sample/triplets").to_pylist()
    }
    said = hardrock("suspects", *WS, "--json", "--sampled", "--rows", "9", cwd=project).stdout
    assert [(f["query_id"], f["doc_id"]) for f in map(json.loads, said.splitlines())] == [
        e[4:6] for e in sorted(expected) if e[2:4] in sampled
    ][:9]


def test_audit_ends_with_3_beyond_a_limit_and_says_which(project):
    assert hardrock("audit", *WS, cwd=project).stdout.startswith("check\tfound\tlimit")
    done = hardrock("audit", *WS, "--max", "duplicates=59", cwd=project, check=False)
    assert done.returncode == 3
    assert "duplicates: doc_id copy-" in done.stdout
    assert "got:   duplicates" in done.stderr
    done = hardrock("audit", *WS, "--max", "duplicates=59", "--json", cwd=project, check=False)
    assert done.returncode == 3
    told = json.loads(done.stdout)
    assert [one["name"] for one in told["checks"] if not one["ok"]] == ["duplicates"]
    assert hardrock("audit", *WS, "--max", "duplicates=60", cwd=project).returncode == 0


MARGIN = ("--set", "judge.filters.relative_margin.margin=0.1")


def test_status_says_what_is_behind_a_stage_that_waits(project):
    states = {s["stage"]: s for s in json.loads(hardrock("status", *WS, *MARGIN, "--json", cwd=project).stdout)}
    assert states["round-00/train"]["behind"] == ["round-00/judge"]
    assert states["round-01/index"]["behind"] == ["round-00/judge"]
    assert (states["round-00/judge"]["behind"], states["round-00/mine"]["behind"]) == ([], [])
    run = json.loads((project / "ws/round-00/mine/run.json").read_text())
    assert (states["round-00/mine"]["made"], states["round-00/mine"]["seconds"]) == (run["started"], run["seconds"])
    said = hardrock("status", *WS, *MARGIN, "--why", cwd=project).stdout.split("\n")
    place = next(i for i, line in enumerate(said) if line.startswith("round-00/sample"))
    assert said[place + 1].strip() == "behind it: round-00/judge: judge.filters.relative_margin.margin 0.05 → 0.1"
    assert said[place + 2].strip().startswith("made 20")


def test_plan_tells_what_it_took_last_time_and_what_is_unknown(project):
    told = answer(project, "plan", *MARGIN)
    run = json.loads((project / "ws/round-00/train/run.json").read_text())
    (train,) = [s for s in told["stages"] if s["stage"] == "round-00/train"]
    assert (train["waits"], train["took"]["seconds"], train["took"]["memory"]) == (
        True,
        run["seconds"],
        run["peak_memory"],
    )
    assert told["unknown"] == 0
    assert told["seconds"] == pytest.approx(sum(s["took"]["seconds"] for s in told["stages"]))
    more = answer(project, "plan", "--set", "rounds=2")
    nodes = {s["stage"]: s["took"]["node"] for s in more["stages"] if s["took"]}
    assert nodes["round-01/mine"] == "round-00/mine"
    assert nodes["round-02/embed"] == "round-01/embed"
    said = hardrock("plan", "--workspace", "nowhere", cwd=project).stdout
    assert "time unknown, nothing of this has run here" in said


COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs" / "looking.md").read_text("utf-8"), re.S | re.M)
    for line in block.strip().split("\n")
]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_on_the_page_runs(project, tmp_path, line):
    shutil.copytree(project, tmp_path / "project", symlinks=True)
    shutil.copytree(project / "ws", tmp_path / "project" / "before")
    before, _, after = line.partition(" | ")
    keys, words = ("yn", after) if after.startswith("hardrock") else ("", before)
    arguments = shlex.split(words, comments=True)[1:]
    where = [] if arguments[0] in ("doctor", "diff", "completion") else WS
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments, *where], cwd=tmp_path / "project", input=keys, text=True,
        capture_output=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
