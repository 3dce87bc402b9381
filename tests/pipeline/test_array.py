"""`--shard i/n`: jobs that share a workspace do their part and no more, and the stage ends as if it had run alone."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import array, plan
from pipeline.array import portion_of
from pipeline.lock import locked, shared
from pipeline.plan import Node
from pipeline.runner import Runner
from pipeline.store import Workspace
from stages import export
from stages.errors import ArtefactError, ConfigError, LockedError
from stages.spec import Shard, cut
from tests.e2e.conftest import ROOT, hardrock
from tests.faults import world
from tests.faults.world import content

EMBED, MINE, EXPORT = Node("embed", 0), Node("mine", 0), Node("export", 0)


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    world.lighten(monkeypatch.setattr)
    return world.write_data(tmp_path / "data")


def until(made: Runner, stage: str) -> None:
    with locked(made.workspace.root):
        made.run([Node("ingest"), *(Node(each, 0) for each in ("embed", "index", "mine"))][: 1 + ("ingest", "embed", "index", "mine").index(stage)])  # fmt: skip


def records(workspace: Path, stage: str) -> list[str]:
    return sorted(path.stem for path in (workspace / f".building/round-00.{stage}/shards").glob("*.json"))


@given(st.integers(0, 200), st.integers(1, 30))
def test_the_parts_are_all_shards_once_and_in_order(count, of):
    shards = cut("rows", count, 1)
    parts = [portion_of(shards, number, of) for number in range(1, of + 1)]
    assert tuple(shard for part in parts for shard in part) == shards
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_jobs_do_their_part_and_a_call_without_finishes(data, tmp_path):
    good, made = world.runner(data, tmp_path / "good"), world.runner(data, tmp_path / "ws")
    until(good, "mine")
    until(made, "ingest")
    place = made.workspace.root
    array.do(made, {EMBED}, (2, 2))
    assert records(place, "embed") == ["corpus_vectors-00002", "query_vectors-00000", "query_vectors-00001"]
    assert not (place / "round-00/embed").exists()
    array.do(made, {EMBED}, (1, 2))
    assert len(records(place, "embed")) == 5
    assert made.workspace.manifest(EMBED.name) is None
    until(made, "index")
    array.do(made, {MINE}, (3, 3))
    until(made, "mine")  # does what no job did
    assert content(place, 4) == content(good.workspace.root, 4)
    assert not list((place / ".building").iterdir())
    array.do(made, {MINE}, (3, 3))  # fresh
    assert not list((place / ".building").iterdir())


def test_jobs_export_pieces_and_a_call_without_joins_them(data, tmp_path):
    good, made = world.runner(data, tmp_path / "good"), world.runner(data, tmp_path / "ws")
    before = plan.upstream({EXPORT}, 1)
    for each, nodes in ((good, before), (made, [node for node in before if node != EXPORT])):
        with locked(each.workspace.root):
            each.run(nodes)
    wanted = content(good.workspace.root, len(before))
    array.do(made, {EXPORT}, (3, 3))
    array.do(made, {EXPORT}, (1, 3))
    place = made.workspace.root
    pieces = sorted(path.name for path in (place / ".building/round-00.export/pieces").iterdir())
    assert pieces == records(place, "export")
    assert 2 < len(pieces) < len(export.shards(made.configuration.stages["export"], made.inputs(EXPORT)))
    assert not (place / "round-00/export").exists()
    damaged = place / ".building/round-00.export/pieces" / pieces[0] / "ids.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1])  # is written again
    with locked(place):
        made.run([EXPORT])
    assert content(place, len(before)) == wanted
    assert sorted(path.name for path in (place / "round-00/export").iterdir()) == [
        "exports",
        "manifest.json",
        "run.json",
    ]
    assert "pieces" not in (place / "round-00/export/manifest.json").read_text()


def test_a_piece_that_changes_before_it_is_joined_is_refused(data, tmp_path, monkeypatch):
    made = world.runner(data, tmp_path / "ws")
    before = plan.upstream({EXPORT}, 1)
    real = made.do

    def do(task, shards, note):
        yield from real(task, shards, note)
        if task.stage == "export":
            piece = task.building.pieces / str(shards[0]) / "ids.parquet"
            piece.write_bytes(piece.read_bytes()[:-1])

    monkeypatch.setattr(made, "do", do)
    with locked(made.workspace.root):
        made.run(before[:-1])
        with pytest.raises(ArtefactError, match="is not as it was stored"):
            made.run([EXPORT])
        assert made.workspace.manifest(EXPORT.name) is None
        monkeypatch.setattr(made, "do", real)
        made.run([EXPORT])


def test_a_job_runs_no_stage_before_its_own(data, tmp_path):
    made = world.runner(data, tmp_path / "ws")
    with pytest.raises(ArtefactError, match="ingest"):
        array.do(made, {EMBED}, (1, 2))
    until(made, "ingest")
    with pytest.raises(ArtefactError, match="embed is not up to date"):
        array.do(made, {MINE}, (1, 2))


@pytest.mark.parametrize("stage", ["index", "ingest"])
def test_a_stage_without_shards_has_no_parts(data, tmp_path, stage):
    node = Node(stage, None if stage == "ingest" else 0)
    with pytest.raises(ConfigError, match="not divided"):
        array.do(world.runner(data, tmp_path / "ws"), {node}, (1, 2))


def test_another_configuration_waits_until_no_job_works(data, tmp_path):
    first, other = world.runner(data, tmp_path / "ws"), world.runner(data, tmp_path / "ws", embed={"shard_rows": 4})
    until(first, "ingest")
    array.do(first, {EMBED}, (1, 2))
    with shared(first.workspace.root, lambda be_alone: None), pytest.raises(LockedError, match="another process"):
        array.do(other, {EMBED}, (1, 2))
    assert records(first.workspace.root, "embed") == ["corpus_vectors-00000", "corpus_vectors-00001"]
    array.do(other, {EMBED}, (2, 7))
    assert records(first.workspace.root, "embed") == ["corpus_vectors-00001"]


def test_jobs_and_runs_keep_each_other_out(data, tmp_path):
    made = world.runner(data, tmp_path / "ws")
    until(made, "ingest")
    with locked(made.workspace.root), pytest.raises(LockedError):
        array.do(made, {EMBED}, (1, 2))
    with shared(made.workspace.root, lambda be_alone: None):
        with pytest.raises(LockedError, match="another") as caught:
            until(made, "embed")
        assert "array jobs" in str(caught.value)
        array.do(made, {EMBED}, (1, 2))  # beside another job


def test_a_result_without_its_name_is_left_to_a_run(data, tmp_path):
    made = world.runner(data, tmp_path / "ws")
    until(made, "embed")
    place = made.workspace
    place.final(EMBED.name).rename(place.building(EMBED.name))
    with pytest.raises(ArtefactError, match="without its name"):
        array.do(made, {EMBED}, (1, 2))


CLAIM = """
import sys
from pathlib import Path
from pipeline.store import Building, Workspace
from stages.spec import Shard
building = Building(Workspace(Path(sys.argv[1])), "round-00/mine", "key").begin()
for number in range(40):
    with building.alone(Shard("queries", number % 2)):
        count = Path(sys.argv[1]) / f"count-{number % 2}"
        value = int(count.read_text() or 0) if count.exists() else 0
        count.write_text(str(value + 1))
"""


def test_one_worker_at_a_time_is_at_a_shard(tmp_path):
    def work(_: int) -> int:
        return subprocess.run([sys.executable, "-c", CLAIM, str(tmp_path)], cwd=ROOT, check=False).returncode

    from pipeline.store import Building

    Building(Workspace(tmp_path), "round-00/mine", "key").begin()
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(work, range(4))) == [0] * 4
    assert [(tmp_path / f"count-{n}").read_text() for n in (0, 1)] == ["80", "80"]
    assert str(Shard("queries", 1)) == "queries-00001"


def test_a_part_that_cannot_be_is_refused(tmp_path):
    for given_ in ("0/4", "5/4", "1", "a/b", "1/0"):
        done = hardrock("embed", "--shard", given_, cwd=tmp_path, check=False)
        assert done.returncode == 2
        assert "I/N" in done.stderr
