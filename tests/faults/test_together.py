"""Two runs at once, readers beside a run, and what many runs leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.lock import locked
from pipeline.publish import opened
from stages.errors import LockedError
from tests.faults import world
from tests.faults.conftest import Bench
from tests.faults.server import ROOT

START = """
import sys, time
from pathlib import Path
from pipeline.lock import locked
from stages.errors import LockedError
for line in sys.stdin:
    place, at = line.split()
    time.sleep(max(0, float(at) - time.time()))
    try:
        with locked(Path(place)):
            print("won", flush=True)
            sys.stdin.readline()
    except LockedError as error:
        print("lost", error.exit_code, error.got, flush=True)
        sys.stdin.readline()
"""


def start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", START], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def check_double_starts(folder: Path, count: int) -> None:
    """Two processes take one lock at the same moment, in a new workspace each time."""
    two = [start(), start()]
    for i in range(count):
        at = time.time() + 0.02
        for process in two:
            process.stdin.write(f"{folder / f'ws{i}'} {at}\n")
            process.stdin.flush()
        said = [process.stdout.readline().strip() for process in two]
        winner = said.index("won")
        assert said[1 - winner].startswith(f"lost 75 process {two[winner].pid} on "), said
        for process in two:
            process.stdin.write("\n")
            process.stdin.flush()
    for process in two:
        process.stdin.close()
        process.wait()


def test_double_starts_have_one_winner(tmp_path):
    check_double_starts(tmp_path, 50)


def test_the_lock_of_a_killed_process_is_reclaimed_at_once_and_it_is_not_named(tmp_path):
    process = start()
    process.stdin.write(f"{tmp_path} 0\n")
    process.stdin.flush()
    assert process.stdout.readline() == "won\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    begun = time.monotonic()
    with locked(tmp_path):
        assert time.monotonic() - begun < 5
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
        with pytest.raises(LockedError, match="another process") as caught, locked(tmp_path):
            pass
        assert f"process {os.getpid()} on" in str(caught.value)


def test_readers_work_beside_a_run_and_write_nothing(bench, monkeypatch):
    workspace = bench.copy()
    before = {p: p.stat().st_mtime_ns for p in workspace.rglob("*") if p.name != "lock"}
    with locked(workspace):
        world.lighten(monkeypatch.setattr)
        runner = world.runner(bench.data, workspace)
        assert all(state.fresh for state in runner.status())
        with opened(runner) as connection:
            assert connection.execute("SELECT count(*) FROM triplets").fetchone() == (10,)
    assert {p: p.stat().st_mtime_ns for p in workspace.rglob("*") if p.name != "lock"} == before


def test_leftovers_of_other_runs_go(bench):
    workspace = bench.copy()
    (workspace / ".catalog.duckdb-abc").mkdir()
    (workspace / ".catalog.duckdb-abc" / "catalog.duckdb").write_bytes(b"half")
    for name in ("round-07.mine", "round-00.mine", "round-00.judge.old"):
        (workspace / ".building" / name).mkdir()
        (workspace / ".building" / name / ".x.tmp").write_bytes(b"half")
    assert bench.server.run(bench.data, workspace).code == 0
    assert list((workspace / ".building").iterdir()) == []
    assert not list(workspace.glob(".catalog*"))
    assert world.content(workspace) == bench.expected


def names(workspace: Path) -> set[str]:
    return {str(p.relative_to(workspace)) for p in workspace.rglob("*")}


def check_runs(bench: Bench, count: int) -> None:
    """The same files after many runs of two configurations in turn."""
    workspace = bench.copy()
    before = names(workspace)
    for i in range(count):
        changes = {"sample": {"negatives": 2 - i % 2, "min_yield": 0.01}, "export": {"targets": {"st_triplet": {}}}}
        ended = bench.server.run(bench.data, workspace, changes=changes)
        assert ended.code == 0, ended.said
    assert bench.server.run(bench.data, workspace).code == 0
    assert names(workspace) == before
    assert world.content(workspace) == bench.expected


def test_two_runs_leave_nothing(bench):
    check_runs(bench, 2)


@pytest.mark.faults
def test_twenty_runs_leave_nothing(bench):
    check_runs(bench, 20)
