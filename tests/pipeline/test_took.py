"""What a stage took before: its own last run, else that of its stage in the nearest round."""

from __future__ import annotations

import json

from pipeline.plan import Node
from pipeline.store import Workspace
from pipeline.took import last, took, total


def ran(workspace, name, seconds, **more):
    folder = workspace.final(name)
    folder.mkdir(parents=True)
    value = {"started": "2026-01-01T00:00:00+00:00", "seconds": seconds, "peak_memory": 1024, **more}
    (folder / "run.json").write_text(json.dumps(value))


def test_its_own_run_comes_before_those_of_other_rounds(tmp_path):
    workspace = Workspace(tmp_path)
    ran(workspace, "round-00/embed", 5)
    ran(workspace, "round-02/embed", 7, shards_resumed=3)
    assert took(workspace, Node("embed", 0), 3).seconds == 5
    assert took(workspace, Node("embed", 2), 3).whole is False
    nearest = took(workspace, Node("embed", 3), 3)
    assert (nearest.node, nearest.seconds) == ("round-02/embed", 7)
    assert last(workspace, Node("embed", 3)) is None
    assert took(workspace, Node("mine", 0), 3) is None


def test_what_cannot_be_read_is_unknown(tmp_path):
    workspace = Workspace(tmp_path)
    for name, content in (("ingest", "{"), ("report", "[]"), ("round-00/mine", '{"seconds": "x", "started": 1}')):
        folder = workspace.final(name)
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(content)
    found = [took(workspace, node, 1) for node in (Node("ingest"), Node("report"), Node("mine", 0))]
    assert found == [None, None, None]
    ran(workspace, "round-00/index", 2.5)
    assert total([*found, took(workspace, Node("index", 0), 1)]) == (2.5, 3)
