"""`hardrock diff`: which negatives, verdicts and metrics differ, against a plain reading of both workspaces."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from tests.e2e.conftest import hardrock
from tests.e2e.test_pipeline import table


@pytest.fixture(scope="module")
def other(project, tmp_path_factory):
    """The same workspace with a wider margin, sampled anew; its metrics are those of another depth."""
    place = tmp_path_factory.mktemp("diff") / "ws"
    shutil.copytree(project / "ws", place)
    hardrock("run", "--workspace", str(place), "--set", "judge.filters.relative_margin.margin=0.06",
             "--set", "train.learning_rate=0.5", cwd=project)  # fmt: skip
    return place


@pytest.fixture(scope="module")
def found(project, other):
    return json.loads(hardrock("diff", "ws", str(other), "--json", "--rows", "100000", cwd=project).stdout)


def named(workspace):
    """Names of the queries and the documents by row."""
    return [
        {row["row"]: row[key] for row in table(workspace, f"ingest/{name}").to_pylist()}
        for name, key in (("queries", "query_id"), ("corpus", "doc_id"))
    ]


def told(workspace):
    asked, docs = named(workspace)
    judged = (
        table(workspace, "round-00/judge/judged").to_pylist() + table(workspace, "round-00/deepen/deepened").to_pylist()
    )
    return {(asked[j["query_row"]], docs[j["doc_row"]]): j["verdict"] for j in judged}


def test_it_says_what_was_configured_differently(found):
    assert found["configuration"] == [
        {"stage": "round-00/judge", "differs": ["judge.filters.relative_margin.margin 0.05 → 0.06"]},
        {"stage": "round-00/train", "differs": ["train.learning_rate 0.05 → 0.5"]},
    ]
    assert found["data"] == {
        "queries": 180, "queries_only_one": 0, "queries_only_other": 0, "documents": 600, "documents_only_one": 0,
        "documents_only_other": 0, "documents_changed": 0,
    }  # fmt: skip


def test_negatives_are_compared_by_query(project, other, found):
    sides = []
    for workspace in (project / "ws", other):
        asked, docs = named(workspace)
        mine: dict[str, set[str]] = {}
        for t in table(workspace, "round-00/sample/triplets").to_pylist():
            mine.setdefault(asked[t["query_row"]], set()).add(docs[t["negative_row"]])
        sides.append(mine)
    expected = {
        query: len(sides[0].get(query, set()) & sides[1].get(query, set()))
        / len(sides[0].get(query, set()) | sides[1].get(query, set()))
        for query in sides[0].keys() | sides[1].keys()
    }
    assert {row["query_id"]: row["jaccard"] for row in found["queries"]} == pytest.approx(expected)
    said = found["negatives"]
    assert said["jaccard"] == pytest.approx(np.mean(list(expected.values())))
    assert said["low"] < said["jaccard"] < said["high"]
    shared = sum(len(sides[0].get(q, set()) & sides[1].get(q, set())) for q in expected)
    assert said["new"] == pytest.approx(1 - shared / sum(map(len, sides[1].values())))


def test_every_changed_verdict_is_listed(project, other, found):
    before, after = told(project / "ws"), told(other)
    expected = {
        (*pair, before.get(pair), after.get(pair))
        for pair in before.keys() | after.keys()
        if before.get(pair) != after.get(pair)
    }
    assert {(c["query_id"], c["doc_id"], c["before"], c["after"]) for c in found["changes"]} == expected
    assert ("kept", "relative_margin") in {(c["before"], c["after"]) for c in found["changes"]}
    counted = {(v["before"], v["after"]): v["candidates"] for v in found["verdicts"]}
    assert counted["kept", "relative_margin"] == sum(e[2:] == ("kept", "relative_margin") for e in expected)


def test_metrics_are_paired_by_query(project, other, found):
    values = []
    for workspace in (project / "ws", other):
        asked, _ = named(workspace)
        values.append({
            asked[m["query_row"]]: m["value"]
            for m in table(workspace, "round-01/evaluate/metrics").to_pylist()
            if m["query_row"] is not None and (m["system"], m["split"], m["measure"], m["cutoff"]) == ("dense", "test", "nDCG", 10)
        })  # fmt: skip
    apart = [values[1][query] - values[0][query] for query in values[0]]
    (mine,) = [m for m in found["metrics"] if (m["round"], m["measure"], m["cutoff"]) == (1, "nDCG", 10)]
    assert mine["difference"] == pytest.approx(np.mean(apart))
    assert mine["one"] == pytest.approx(np.mean(list(values[0].values())))
    assert (mine["queries"], mine["low"] <= mine["difference"] <= mine["high"]) == (len(apart), True)
    (same,) = [m for m in found["metrics"] if (m["round"], m["measure"], m["cutoff"]) == (0, "nDCG", 10)]
    assert (same["difference"], same["low"], same["high"], same["p_value"]) == (0, 0, 0, 1)


def test_a_workspace_does_not_differ_from_itself(project):
    same = json.loads(hardrock("diff", "ws", "ws", "--json", cwd=project).stdout)
    assert (same["configuration"], same["changes"]) == ([], [])
    assert (same["negatives"]["jaccard"], same["negatives"]["new"]) == (1, 0)


def test_one_query_alone_and_plain_lines_in_a_pipe(project, other, found):
    mine = json.loads(hardrock("diff", "ws", str(other), "--query", "q0000", "--json", cwd=project).stdout)
    assert mine["changes"] == [c for c in found["changes"] if c["query_id"] == "q0000"][:10]
    said = hardrock("diff", "ws", str(other), "--rows", "1", cwd=project).stdout
    assert said.startswith("round-00/judge: judge.filters.relative_margin.margin 0.05 → 0.06\n")
    empty = hardrock("diff", "ws", ".", cwd=project, check=False)
    assert (empty.returncode, "nothing in this workspace" in empty.stderr) == (5, True)
