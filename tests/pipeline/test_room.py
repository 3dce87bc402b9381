"""What a stage will write, against what it wrote."""

from __future__ import annotations

import shutil
from collections import namedtuple

import pytest

from pipeline import plan, room
from pipeline.manifest import Manifest, Record, Stored
from pipeline.plan import Node
from pipeline.store import Workspace
from stages.errors import StorageError
from tests.faults import world


def manifest(**tables: tuple[int, int]) -> Manifest:
    stored = {name: (Stored(name, size, "0", rows),) for name, (rows, size) in tables.items()}
    return Manifest({}, "", Record(stored))


def test_a_size_is_the_sum_of_its_files():
    found = Manifest(
        {}, "", Record({"a": (Stored("1", 5, "", 2), Stored("2", 7, "", 3))}, {"f": (Stored("f", 9, ""),)})
    )
    assert room.of(found, "a") == room.Size(5, 12)
    assert room.of(found, "f") == room.Size(0, 9)
    assert room.of(found, "none") == room.Size(0, 0)


def test_estimates_grow_with_what_is_read(tmp_path):
    stages = world.configuration(tmp_path).stages
    small = {"corpus": room.Size(1000, 10_000), "queries": room.Size(100, 1000)}
    large = {"corpus": room.Size(1_000_000, 10_000_000), "queries": room.Size(100, 1000)}
    for stage in ("embed",):
        few, many = (room.estimate(stage, stages[stage], sizes, None) for sizes in (small, large))
        assert many > 100 * few / 10
        assert few > 1000 * 768 * 4
    assert room.estimate("mine", stages["mine"], large, None) == room.FIXED + 100 * 8 * 24
    assert room.estimate("report", stages["report"], {}, None) == room.FIXED


def test_what_an_embedding_took_before_counts_more_than_the_guess(tmp_path):
    config = world.configuration(tmp_path).stages["embed"]
    sizes = {"corpus": room.Size(1000, 10_000), "queries": room.Size(100, 1000)}
    earlier = manifest(corpus_vectors=(1000, 64_000))
    assert room.estimate("embed", config, sizes, earlier) == room.FIXED + 64_000


def test_nothing_known_counts_as_nothing(tmp_path):
    stages = world.configuration(tmp_path / "none").stages
    for stage in plan.STAGES:
        assert room.estimate(stage, stages[stage], {}, None) >= room.FIXED


def test_a_model_counts_by_its_weights():
    from tests.models import BERT_TINY, folder

    size = sum(p.stat().st_size for p in (folder("cognition") / "model").rglob("*.safetensors"))
    assert room.model_bytes(BERT_TINY) == size
    assert room.model_bytes("some/hub-id") == room.MODEL_BYTES
    assert room.model_bytes("package:no_such_package/x") == room.MODEL_BYTES


def test_what_is_free_is_that_of_the_place_to_come(tmp_path):
    assert abs(room.free(tmp_path / "a" / "b") - shutil.disk_usage(tmp_path).free) < 1 << 30


def test_too_little_names_all_three(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "free", lambda place: 2 << 20)
    room.check("embed", tmp_path, 2 << 20)
    with pytest.raises(StorageError) as caught:
        room.check("round-00/embed", tmp_path, 3 << 30)
    said = str(caught.value)
    for piece in ("round-00/embed will write about 3.0 GB", "2.0 MB are free", str(tmp_path), "--ignore-space"):
        assert piece in said


@pytest.mark.parametrize(
    ("count", "says"), [(0, "0 bytes"), (1536, "1.5 kB"), (200 << 20, "200 MB"), (5 << 40, "5.0 TB")]
)
def test_sizes_are_read_by_people(count, says):
    assert room.human(count) == says


def test_the_estimate_is_above_what_the_light_pipeline_writes(tmp_path, monkeypatch):
    world.lighten(monkeypatch.setattr)
    data = world.write_data(tmp_path / "data")
    made = world.runner(data, tmp_path / "ws")
    said = {}
    real = room.check
    monkeypatch.setattr(
        room, "check", lambda name, place, needed: (said.__setitem__(name, needed), real(name, place, needed))
    )
    made.run(plan.nodes(1))
    for name, needed in said.items():
        stored = Workspace(tmp_path / "ws").manifest(name)
        assert stored is not None
        assert needed >= sum(one.bytes for one in stored.record.stored()), name
    assert set(said) == {
        node.name for node in plan.nodes(1) if node.stage != "guard"
    }  # without collections it writes nothing


Usage = namedtuple("Usage", "total used free")


def test_a_run_stops_before_it_writes_unless_it_is_told_not_to(tmp_path, monkeypatch):
    world.lighten(monkeypatch.setattr)
    data = world.write_data(tmp_path / "data")
    made = world.runner(data, tmp_path / "ws")
    made.run([Node("ingest")])
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(10, 9, 1))
    with pytest.raises(StorageError, match="round-00/embed will write"):
        made.run([Node("ingest"), Node("embed", 0)])
    assert made.workspace.manifest("ingest") is not None
    assert made.workspace.manifest("round-00/embed") is None
    made.ignore_space = True
    assert made.run([Node("embed", 0)]) == [Node("embed", 0)]


def test_plan_shows_the_estimate_and_what_is_free(tmp_path, monkeypatch):
    from click.testing import CliRunner

    from pipeline.cli import look

    world.lighten(monkeypatch.setattr)
    made = world.runner(world.write_data(tmp_path / "data"), tmp_path / "ws")
    monkeypatch.setattr(look, "runner", lambda **given: made)
    said = CliRunner().invoke(look.plan, []).output
    assert f"ingest will write about {room.human(made.writes(Node('ingest')))}" in said
    assert f"are free at {tmp_path / 'ws'}" in said
    assert "round-00/embed will write" not in said
