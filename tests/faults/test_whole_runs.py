"""`hardrock run` with real training and exports, killed and stopped from outside again and again until it ends."""

from __future__ import annotations

import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import LANES, PARTS, SEED, Bench, made
from tests.faults.server import ROOT, Ended
from tests.faults.test_kills import check_stopped, clean, told
from tests.faults.world import NAMES, content

CONFIGURATION = """
rounds = 1
[ingest.dataset]
name = "beir"
path = "{data}"
[encoder]
name = "static"
model = "{data}/model.safetensors"
tokenizer = "{data}/tokenizer.json"
[embed]
shard_rows = 6
[mine]
depth = 8
shard_queries = 2
[judge.filters.known_positive]
[judge.filters.same_text]
[sample]
negatives = 2
min_yield = 0.01
[export.targets.st_triplet]
[export.targets.flagembedding]
[export.targets.st_ntuple]
negatives = 2
[train]
batch_size = 2
epochs = 2
checkpoint_steps = 2
"""
ENDS = "all fresh, nothing to do"


@pytest.fixture(scope="module")
def whole() -> Iterator[Bench]:
    """The bench whose workspace is that of an undisturbed `hardrock run`."""
    with made(real=True, until=1) as bench:
        (bench.data / "hardrock.toml").write_text(CONFIGURATION.format(data=bench.data))
        good = bench.fresh("good")
        ended = bench.server.run(bench.data, good, command=command(bench, good))
        assert ended.code == 0, ended.said
        bench.expected = content(good)
        yield bench


def command(bench: Bench, workspace: Path, *more: str) -> list[str]:
    return [
        "run",
        "--config",
        str(bench.data / "hardrock.toml"),
        "--workspace",
        str(workspace),
        "--device",
        "cpu",
        *more,
    ]


def seconds(bench: Bench) -> float:
    """How long an undisturbed run takes."""
    workspace, begun = bench.fresh(), time.monotonic()
    assert bench.server.run(bench.data, workspace, command=command(bench, workspace)).code == 0
    return time.monotonic() - begun


def moment(chance: random.Random, workspace: Path, length: float) -> dict[str, object]:
    """Some time after the start, or after the begin of a stage that is still to come."""
    name = chance.choice(NAMES)
    if chance.random() < 0.2 or (workspace / name / "manifest.json").exists():
        return {"after": chance.uniform(0, length)}
    return {"says": f"{name}: ", "after": chance.expovariate(1 / (0.05 * length))}


def check_stop(bench: Bench, workspace: Path, ended: Ended, number: int) -> bool:
    """Nothing partial has a final name, and what has one is already as it will be. False when the run had ended before."""
    assert "Traceback" not in ended.said, ended.said
    clean(workspace)
    there = content(workspace) if workspace.is_dir() else {}
    assert {name: bench.expected.get(name) for name in there} == there
    if ended.code == 0:
        return False
    assert ended.code in (-number, 128 + number), ended.said
    if ended.code == 128 + number:
        check_stopped(ended, number)
        assert shlex.join(["hardrock", *command(bench, workspace)]) in ended.said
    return True


def check_end(bench: Bench, workspace: Path) -> None:
    ended = bench.server.run(bench.data, workspace, command=command(bench, workspace))
    assert ended.code == 0, ended.said
    assert content(workspace) == bench.expected
    clean(workspace)
    assert ENDS in bench.server.run(bench.data, workspace, command=command(bench, workspace)).said


def check_chain(bench: Bench, seed: int, number: int, count: int, length: float) -> dict[str, int]:
    """Stopped `count` times: in one workspace until its run has ended, then in the next. Returns where it was stopped."""
    chance, where, runs = random.Random(seed), dict[str, int](), 0
    while sum(where.values()) < count:
        workspace, going = bench.fresh(), True
        runs += 1
        while going and sum(where.values()) < count:
            what = moment(chance, workspace, length)
            ended = bench.server.run(bench.data, workspace, command=command(bench, workspace), number=number, **what)
            going = check_stop(bench, workspace, ended, number)
            if going:
                stage = ([n for n in NAMES if f"{n}: " in ended.said] or ["before the first"])[-1].split("/")[-1]
                where[stage] = where.get(stage, 0) + 1
        check_end(bench, workspace)
    return {**where, "runs": runs}


def check_signals(bench: Bench, number: signal.Signals, count: int) -> None:
    begun, length = time.monotonic(), seconds(bench)
    share = -(-count // (LANES * PARTS))
    found: dict[str, int] = {}
    for counts in bench.each(
        check_chain, [(SEED * 100 + lane, int(number), share, length) for lane in range(LANES * PARTS)]
    ):
        for stage, times in counts.items():
            found[stage] = found.get(stage, 0) + times
    runs = found.pop("runs")
    assert sum(found.values()) >= count // PARTS
    where = ", ".join(f"{times} in {stage}" for stage, times in sorted(found.items(), key=lambda item: -item[1]))
    told(f"{number.name} to {sum(found.values())} whole runs of {length:.1f} s in {runs} workspaces: {where}", begun)


@pytest.mark.faults
@pytest.mark.parametrize(("number", "count"), [(signal.SIGKILL, 100), (signal.SIGTERM, 20), (signal.SIGINT, 20)])
def test_whole_runs_are_stopped_at_random_times(whole, number, count):
    check_signals(whole, number, count)


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.faults
@pytest.mark.parametrize("engine", ["local", "processes"])
def test_processes_of_their_own_are_killed_with_all_their_workers(whole, engine):
    """Nothing is warm: each run is a new interpreter, and its group is killed in the middle of a stage."""
    begun, chance, workspace, stopped = time.monotonic(), random.Random(SEED), whole.fresh(), 0
    line = [sys.executable, "-m", "pipeline.cli", *command(whole, workspace, "--engine", engine)]
    for name in ("round-00/embed", "round-00/mine", "round-00/export", "round-00/train", "round-01/embed"):
        with subprocess.Popen(
            line, cwd=ROOT, text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        ) as process:
            assert process.stderr
            while (said := process.stderr.readline()) and f"{name}: " not in said:
                pass
            time.sleep(chance.uniform(0, 0.2))
            os.killpg(process.pid, signal.SIGKILL)
            process.stderr.read()
        stopped += process.returncode == -signal.SIGKILL
        until = time.monotonic() + 5
        while alive(process.pid) and time.monotonic() < until:
            time.sleep(0.01)
        assert not alive(process.pid)
        clean(workspace)
    ended = subprocess.run(line, cwd=ROOT, text=True, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert content(workspace) == whole.expected
    told(f"{stopped} of 5 runs in a new interpreter killed with the engine {engine}", begun)
