"""Every engine gives the bytes of the local one, whatever becomes of its workers."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import config, plan
from pipeline.engines import EngineConfig, build
from pipeline.engines.processes import DEATHS
from pipeline.lock import locked, without_workers
from pipeline.plan import Node
from pipeline.runner import Runner
from pipeline.store import Workspace
from stages.errors import LockedError, ResourceError
from tests.e2e.conftest import CONFIG, ROOT, write_beir

SPREAD = ("round-00/embed", "round-00/mine", "round-00/judge")


def runner(folder: Path, workspace: Path, **engine: Any) -> Runner:
    loaded = config.load(folder / "hardrock.toml")
    return Runner(replace(loaded, engine=EngineConfig(**engine)), Workspace(workspace), "cpu")


def bring(made: Runner, stage: str) -> None:
    with locked(made.workspace.root):
        made.run(plan.upstream({Node(stage, 0)}, 1))


def content(workspace: Path, names: tuple[str, ...] = SPREAD) -> dict[str, bytes]:
    return {
        str(path.relative_to(workspace)): path.read_bytes()
        for name in names
        for path in (workspace / name).rglob("*")
        if path.is_file() and path.name != "run.json"
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A data set, a configuration with many shards, and a workspace `local` that was run as far as export."""
    folder = tmp_path_factory.mktemp("engines")
    write_beir(folder / "beir")
    text = CONFIG.replace("shard_rows = 256", "shard_rows = 20")
    (folder / "hardrock.toml").write_text(text + "\n[export.targets.tevatron]\n[export]\nshard_triplets = 60\n")
    bring(runner(folder, folder / "local"), "export")
    return folder


@pytest.fixture
def workspace(project, tmp_path) -> Path:
    """A workspace with ingest and index of the local run, and nothing that is spread."""
    place = tmp_path / "ws"
    made = ("mine", "judge", "teach", "embed", "deepen", "estimate", "sample", "export")
    shutil.copytree(project / "local", place, ignore=shutil.ignore_patterns(*made))
    return place


def children() -> list[int]:
    return [child.pid for child in multiprocessing.active_children()]


def when(ready: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
    """Does something in another thread as soon as it is time for it."""

    def watch() -> None:
        until = time.monotonic() + 60
        while not ready() and time.monotonic() < until:
            time.sleep(0.001)
        act()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_processes_give_the_bytes_of_local_though_one_is_killed(project, workspace):
    shards = workspace / ".building/round-00.embed/shards"
    killed: list[int] = []

    def kill() -> None:
        killed.append(children()[0])
        os.kill(killed[0], signal.SIGKILL)

    watcher = when(lambda: len(list(shards.glob("corpus*.json"))) >= 2, kill)
    made = runner(project, workspace, name="processes", workers=2)
    bring(made, "judge")
    watcher.join()
    assert killed
    assert content(workspace) == content(project / "local")
    assert children() == []
    by = json.loads((workspace / "round-00/judge/run.json").read_text())["workers"]
    done = len(json.loads((workspace / "round-00/judge/manifest.json").read_text())["tables"]["judged"])
    assert 1 <= len(by) <= 2  # one may be quick enough to do them all
    assert sum(one["shards"] for one in by) == done == 3
    documents = Workspace(workspace).manifest("round-00/embed").record
    assert sum(stored.rows for stored in documents.tables["corpus_vectors"]) == documents.counters["corpus.texts"]


def test_export_by_processes_has_the_bytes_of_local_though_one_is_killed(project, tmp_path):
    place = tmp_path / "ws"
    shutil.copytree(project / "local", place, ignore=shutil.ignore_patterns("export"))
    shards = place / ".building/round-00.export/shards"
    watcher = when(lambda: len(list(shards.glob("*.json"))) >= 2, lambda: os.kill(children()[0], signal.SIGKILL))
    bring(runner(project, place, name="processes", workers=2), "export")
    watcher.join()
    assert content(place, ("round-00/export",)) == content(project / "local", ("round-00/export",))
    targets = sorted(path.name for path in (place / "round-00/export/exports").iterdir())
    assert targets == ["flagembedding", "st_ntuple", "st_triplet", "tevatron"]
    assert len(list((place / "round-00/export/exports/st_triplet/data").iterdir())) > 3
    assert sum(worker["shards"] for worker in run_of(place)["workers"]) > 12
    assert children() == []


def run_of(place: Path) -> dict[str, Any]:
    return json.loads((place / "round-00/export/run.json").read_text())


def test_the_engine_is_no_part_of_a_result(project):
    for engine in ({"name": "processes", "workers": 3}, {"name": "local", "threads": 1}):
        made = runner(project, project / "local", **engine)
        assert all(state.fresh for state in made.status() if state.node.name in SPREAD)


def test_what_a_worker_refuses_is_said_as_if_it_were_here(project, workspace):
    bring(runner(project, workspace), "index")
    made = runner(project, workspace, name="processes", workers=1)
    (vectors,) = (workspace / "round-00/embed").glob("query_vectors-00000.parquet")
    data = bytearray(vectors.read_bytes())
    data[len(data) // 2] ^= 1
    vectors.write_bytes(data)
    with pytest.raises(Exception, match="damaged") as caught:
        bring(made, "mine")
    assert "query_vectors-00000.parquet" in str(caught.value)
    assert children() == []


def test_workers_that_die_again_and_again_end_the_run(project, workspace):
    made = runner(project, workspace, name="processes", workers=1)
    stop = threading.Event()

    def cull() -> None:
        while not stop.is_set():
            for child in children():
                os.kill(child, signal.SIGKILL)
            time.sleep(0.01)

    thread = threading.Thread(target=cull)
    thread.start()
    try:
        with pytest.raises(ResourceError, match=f"{DEATHS} workers died"):
            bring(made, "embed")
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def stray(workspace) -> Iterator[subprocess.Popen[str]]:
    """A worker of a run that was killed, which has not noticed yet."""
    code = "import sys,time; from pathlib import Path; from pipeline.lock import working\nwith working(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(workspace)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_nothing_is_cleaned_up_while_a_worker_of_a_killed_run_lives(project, workspace, stray, monkeypatch):
    monkeypatch.setattr("pipeline.lock.WAIT", 0.3)
    made = runner(project, workspace)
    with pytest.raises(LockedError, match="workers of another run"):
        bring(made, "embed")
    stray.kill()
    stray.wait()
    bring(made, "embed")
    assert content(workspace, SPREAD[:1]) == content(project / "local", SPREAD[:1])


def test_an_engine_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="name"):
        build(EngineConfig(name="slurm"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.faults)])
def test_a_killed_run_takes_its_workers_along_and_goes_on(project, workspace, number):
    shutil.rmtree(workspace / "round-00")
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "embed", "--workspace", str(workspace), "--engine", "processes", "--workers", "2"],
        cwd=project, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    shards = workspace / ".building/round-00.embed/shards"
    watcher = when(lambda: len(list(shards.glob("*.json"))) >= 3, lambda: process.send_signal(number))
    said = process.communicate(timeout=60)[1]
    watcher.join()
    assert process.returncode == (-9 if number == signal.SIGKILL else 143), said
    with without_workers(workspace):  # the last of them is gone
        assert not (workspace / "round-00").exists()
        assert len(list(shards.glob("*.json"))) >= 3
    bring(runner(project, workspace), "embed")
    assert content(workspace, SPREAD[:1]) == content(project / "local", SPREAD[:1])
