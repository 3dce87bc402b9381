"""Two nodes of Ray: the bytes of the local engine, whoever is killed and when."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline import config
from pipeline.plan import Node as Stage
from pipeline.runner import Runner
from pipeline.store import Workspace
from pipeline.verify import faults
from tests.e2e.conftest import CONFIG, write_beir
from tests.ray.cluster import ENVIRONMENT, PATIENCE, Cluster, wait_until

pytestmark = pytest.mark.ray

POINTS = int(os.environ.get("RAY_POINTS") or 20)
"""Kills of each kind."""

SEED = int(os.environ.get("RAY_SEED") or 1)

TRIES = 5
"""Runs of which one must last until its kill."""

SPREAD = {"embed": "ingest", "mine": "index", "judge": "teach", "export": "sample"}
"""The stages that are killed, and the last stage that is there before."""


@dataclass
class Bench:
    """A cluster, a project with one workspace a state, and what the local engine makes of it."""

    cluster: Cluster
    folder: Path
    expected: dict[str, dict[str, bytes]]
    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def before(self, stage: str) -> Path:
        """A new workspace as it is before a stage."""
        place = Path(tempfile.mkdtemp(prefix="ws-", dir=self.folder)) / "ws"
        shutil.copytree(self.folder / f"before-{stage}", place)
        return place

    def start(self, stage: str, place: Path, engine: str = "ray") -> subprocess.Popen[str]:
        given = ["--set", f'engine.address="{self.cluster.address}"'] if engine == "ray" else []
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", stage, "--workspace", str(place), "--engine", engine, *given],
            cwd=self.folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def end(self, process: subprocess.Popen[str]) -> str:
        """What a run said that must end well."""
        try:
            said = process.communicate(timeout=PATIENCE)[1]
        except subprocess.TimeoutExpired:  # it must not work on beside the next test
            process.kill()
            process.communicate()
            raise
        assert process.returncode == 0, said
        assert "Traceback" not in said
        return said

    def check(self, stage: str, place: Path) -> None:
        """The result is whole, has the bytes of the local engine, and every document and query is there once."""
        assert result(place, stage) == self.expected[stage]
        assert [str(fault) for fault in faults(Workspace(place))[2]] == []
        assert list((place / ".building").iterdir()) == []
        if stage == "embed":
            for table, rows in (("corpus", 600), ("query", 180)):
                files = sorted((place / "round-00/embed").glob(f"{table}_vectors-*.parquet"))
                assert [row for file in files for row in pq.read_table(file)["row"].to_pylist()] == list(range(rows))


def result(place: Path, stage: str) -> dict[str, bytes]:
    folder = place / "round-00" / stage
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "run.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("ray")
    write_beir(folder / "beir")
    text = CONFIG.replace("shard_rows = 256", "shard_rows = 10").replace("shard_queries = 40", "shard_queries = 2")
    (folder / "hardrock.toml").write_text(text + "\n[export.targets.tevatron]\n[export]\nshard_triplets = 20\n")
    cluster = Cluster()
    made = Bench(cluster, folder, {})
    try:
        place = folder / "local"
        for stage, until in SPREAD.items():
            made.end(made.start(until, place, "local"))
            shutil.copytree(place, folder / f"before-{stage}")
        made.end(made.start("export", place, "local"))
        made.expected = {stage: result(place, stage) for stage in (*SPREAD, "teach", "deepen", "sample")}
        yield made
        for victim, counts in made.counts.items():
            print(f"\n{victim}: {dict(counts)}, all byte-identical")
    finally:
        cluster.close()


def test_a_whole_run_has_the_bytes_of_the_local_engine(bench):
    place = bench.before("embed")
    bench.end(bench.start("export", place))
    for stage in bench.expected:
        bench.check(stage, place)
    assert '"workers"' in (place / "round-00/embed/run.json").read_text()


def test_what_goes_through_the_driver_is_small(bench):
    """Tasks and answers hold paths, names and hashes: they do not grow with what is in the tables."""
    place = bench.folder / "local"
    made = Runner(config.load(bench.folder / "hardrock.toml"), Workspace(place), "cpu")
    for stage in ("embed", "mine", "judge", "sample", "export"):
        node = Stage(stage, 0)
        task = made.task(node, made.inputs(node), "key")
        stored = sum(len(stored.file) + 200 for source in made.reads(node).values() for stored in made.workspace.manifest(source[0].name).record.stored())  # fmt: skip
        assert len(pickle.dumps(task)) < 20_000 + 4 * stored


def watch(place: Path, stage: str, count: int, pause: float, process: subprocess.Popen[str]) -> bool:
    """Waits until so many shards are stored, and a moment more. False when the run has ended before."""
    shards = place / f".building/round-00.{stage}/shards"
    wait_until(lambda: process.poll() is not None or sum(1 for _ in shards.glob("*.json")) >= count, PATIENCE, 0.001)
    time.sleep(pause)
    return process.poll() is None


def points() -> list[tuple[str, int, float]]:
    """Stage, how many shards are stored, and a moment more: a quarter while workers begin, the others while they work."""
    chance = random.Random(SEED)
    found = []
    for number in range(POINTS):
        stage = list(SPREAD)[number % len(SPREAD)]
        if number % 4 == 0:
            found.append((stage, 0, chance.uniform(1.0, 4.0)))
        else:
            found.append((stage, chance.randint(1, 30), chance.uniform(0, 0.02)))
    return found


def kill(bench: Bench, victim: str, process: subprocess.Popen[str], chance: random.Random) -> bool:
    """Kills a worker, the second node or the driver. False where there is none any more."""
    if victim == "worker":
        wait_until(lambda: bench.cluster.workers() or process.poll() is not None, PATIENCE)
        workers = bench.cluster.workers()
        for pid in chance.sample(workers, min(1, len(workers))):
            os.kill(pid, signal.SIGKILL)
        return bool(workers)
    if victim == "node":
        bench.cluster.second.kill()
    else:
        process.kill()
        process.communicate()
    return True


@pytest.mark.parametrize("victim", ["worker", "node", "driver"])
@pytest.mark.parametrize("number", range(POINTS))
def test_a_kill_changes_no_byte(bench, victim, number):
    """A test a kill: each has the time that a test may take, and what comes after one that fails is still tried."""
    begun, chance = time.monotonic(), random.Random(f"{SEED} {number}")
    stage, count, pause = points()[number]
    for _ in range(TRIES):
        place = bench.before(stage)
        process = bench.start(stage, place)
        if watch(place, stage, count, pause, process) and kill(bench, victim, process, chance):
            break
        bench.end(process)  # it had ended before, and has another try, earlier
        count, pause = count // 2, pause / 2
    else:
        pytest.fail(f"{TRIES} times the run had ended before the kill")
    if victim == "driver":
        folder = place / "round-00" / stage
        assert not folder.exists() or result(place, stage) == bench.expected[stage]
        process = bench.start(stage, place)
    said = bench.end(process)
    bench.check(stage, place)
    if bench.cluster.second.process.returncode is not None:
        bench.cluster.join()
    counts = bench.counts.setdefault(victim, Counter())
    counts[f"killed in {stage}"] += 1
    counts["done again by another worker"] += said.count("which another one does again")
    counts["gone on from stored shards"] += "goes on:" in said
    counts["seconds"] += round(time.monotonic() - begun)


def test_a_stopped_driver_ends_in_order_and_leaves_no_worker(bench):
    place = bench.before("embed")
    process = bench.start("embed", place)
    assert watch(place, "embed", 3, 0, process)
    process.terminate()
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 143, said
    assert "Go on with: hardrock embed" in said
    assert wait_until(lambda: not bench.cluster.workers(), PATIENCE, 0.1)
    assert "goes on:" in bench.end(bench.start("embed", place))
    bench.check("embed", place)


def test_what_a_worker_refuses_is_said_as_if_it_were_here(bench):
    place = bench.before("mine")
    (vectors,) = (place / "round-00/embed").glob("query_vectors-00000.parquet")
    data = bytearray(vectors.read_bytes())
    data[len(data) // 2] ^= 1
    vectors.write_bytes(data)
    process = bench.start("mine", place)
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 5, said
    assert "query_vectors-00000.parquet" in said
    assert "Traceback" not in said


def test_a_node_with_other_packages_is_refused(bench):
    place = bench.before("embed")
    code = (
        "import pipeline.environment as e; real = e.versions; e.versions = lambda: real() | {'numpy': '0.1'}\n"
        "from pipeline.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "embed", "--workspace", str(place), "--engine", "ray", "--set", f'engine.address="{bench.cluster.address}"'],
        cwd=bench.folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 6, done.stderr
    assert "numpy" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_ray_at_an_address_is_said(bench):
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "embed", "--workspace", str(bench.before("embed")), "--engine", "ray", "--set", 'engine.address="127.0.0.1:9"'],
        cwd=bench.folder, env={**ENVIRONMENT, "RAY_gcs_rpc_server_connect_timeout_s": "2"}, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 6, done.stderr
    assert "no Ray answers" in done.stderr


def test_the_cluster_is_lost_and_this_machine_goes_on(bench):
    """The head goes, and with it all of Ray. What is stored is enough for the local engine to go on from."""
    place = bench.before("embed")
    process = bench.start("embed", place)
    assert watch(place, "embed", 5, 0, process)
    bench.cluster.head.kill()
    bench.cluster.second.kill()
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode != 0
    print(f"\nhead lost: exit {process.returncode}: {said[-600:]}")
    assert "goes on:" in bench.end(bench.start("embed", place, "local"))
    bench.check("embed", place)
