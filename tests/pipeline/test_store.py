"""The commit routine: what is visible is whole, what was finished is kept, what was complete stays."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.fingerprint import Identity, sha256
from pipeline.manifest import Manifest, merge, read
from pipeline.source import FileSource, TableSource, check
from pipeline.store import Building, Workspace, commit, commit_json, write_table
from stages.arrays import vector_table
from stages.errors import ArtefactError, StorageError
from stages.spec import WHOLE, Part, Shard
from tests.support import table

SHORTFALL = table("shortfall", [{"query_row": 1, "positive_row": 2, "wanted": 5, "got": 3}])
MORE = table("shortfall", [{"query_row": 4, "positive_row": 7, "wanted": 5, "got": 0}])


def identity(stage: str = "sample", **config: object) -> Identity:
    return Identity(stage, 1, 0, config, {"judged": "abc"}, {})


def complete(workspace: Workspace, name: str, parts: list[Part], who: Identity) -> Manifest:
    building = Building(workspace, name, who.key).begin()
    records = []
    for part in parts:
        records.append(building.store(part))
        building.record(part.shard, records[-1])
    manifest = Manifest(who.as_json(), who.key, merge(records))
    building.complete(manifest, {"seconds": 1})
    return manifest


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_complete_result_holds_its_tables_its_manifest_and_nothing_else(tmp_path):
    workspace = Workspace(tmp_path)
    parts = [
        Part(Shard("pairs", 0), {"shortfall": SHORTFALL}, counters={"pairs": 2}),
        Part(Shard("pairs", 1), {"shortfall": MORE}, counters={"pairs": 3}, facts={"sampler": "top"}),
    ]
    complete(workspace, "round-00/sample", parts, identity())
    assert files(tmp_path) == [
        "round-00/sample/manifest.json",
        "round-00/sample/run.json",
        "round-00/sample/shortfall-00000.parquet",
        "round-00/sample/shortfall-00001.parquet",
    ]
    manifest = workspace.manifest("round-00/sample")
    assert manifest.record.counters == {"pairs": 5}
    assert manifest.record.facts == {"sampler": "top"}
    source = TableSource(workspace.final("round-00/sample"), "shortfall", manifest, {})
    assert source.read().to_pylist() == SHORTFALL.to_pylist() + MORE.to_pylist()
    assert source.read(["got"], part=source.parts[1]).to_pylist() == [{"got": 0}]
    assert [b.num_rows for b in source.batches(rows=1)] == [1, 1]


def test_a_stopped_stage_goes_on_from_its_finished_shards(tmp_path):
    workspace = Workspace(tmp_path)
    first, second = Shard("pairs", 0), Shard("pairs", 1)
    building = Building(workspace, "round-00/sample", identity().key).begin()
    record = building.store(Part(first, {"shortfall": SHORTFALL}))
    building.record(first, record)
    building.store(Part(second, {"shortfall": MORE}))  # stored, not recorded: the stage was killed here
    (building.scratch / "state").write_text("kept")

    again = Building(workspace, "round-00/sample", identity().key).begin()
    assert again.finished([first, second]) == {first: record}
    assert not (again.folder / "shortfall-00001.parquet").exists()
    assert (again.scratch / "state").read_text() == "kept"


def test_a_damaged_shard_of_a_stopped_stage_is_made_again(tmp_path):
    workspace = Workspace(tmp_path)
    shard = Shard("pairs", 0)
    building = Building(workspace, "round-00/sample", identity().key).begin()
    building.record(shard, building.store(Part(shard, {"shortfall": SHORTFALL})))
    path = building.folder / "shortfall-00000.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    assert Building(workspace, "round-00/sample", identity().key).begin().finished([shard]) == {}
    assert not path.exists()


def test_another_identity_starts_anew_and_leaves_the_earlier_result_until_it_is_complete(tmp_path):
    workspace = Workspace(tmp_path)
    old = complete(workspace, "round-00/sample", [Part(WHOLE, {"shortfall": SHORTFALL})], identity(negatives=5))
    half = Building(workspace, "round-00/sample", identity(negatives=6).key).begin()
    half.store(Part(WHOLE, {"shortfall": MORE}))
    assert workspace.manifest("round-00/sample") == old
    other = Building(workspace, "round-00/sample", identity(negatives=7).key).begin()
    assert other.finished([WHOLE]) == {}
    assert files(other.folder) == ["key"]
    new = complete(workspace, "round-00/sample", [Part(WHOLE, {"shortfall": MORE})], identity(negatives=7))
    assert workspace.manifest("round-00/sample") == new
    assert not any((tmp_path / ".building").iterdir())


@pytest.mark.parametrize("old_stepped_aside", [False, True])
def test_a_kill_around_the_last_renames_loses_nothing(tmp_path, monkeypatch, old_stepped_aside):
    workspace = Workspace(tmp_path)
    complete(workspace, "round-00/sample", [Part(WHOLE, {"shortfall": SHORTFALL})], identity(negatives=5))
    real, calls = Path.rename, []

    def killed(self, target):
        if self == workspace.building("round-00/sample") or (
            not old_stepped_aside and self == workspace.final("round-00/sample")
        ):
            raise KeyboardInterrupt
        calls.append(self)
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            complete(workspace, "round-00/sample", [Part(WHOLE, {"shortfall": MORE})], identity(negatives=6))
    assert workspace.final("round-00/sample").exists() != old_stepped_aside
    workspace.recover()
    manifest = workspace.manifest("round-00/sample")
    assert manifest.key == identity(negatives=6).key
    assert (
        TableSource(workspace.final("round-00/sample"), "shortfall", manifest, {}).read().to_pylist()
        == MORE.to_pylist()
    )
    assert not any((tmp_path / ".building").iterdir())


def test_a_file_that_fails_half_way_leaves_what_was_there(tmp_path):
    path = tmp_path / "result"
    commit(path, lambda p: p.write_text("whole"))

    def fails(place: Path) -> None:
        place.write_text("ha")
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="result") as caught:
        commit(path, fails)
    assert caught.value.exit_code == 74
    assert "No space left on device" in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["result"]
    assert path.read_text() == "whole"


def test_a_folder_is_committed_whole(tmp_path):
    def write(folder: Path) -> None:
        (folder / "inner").mkdir(parents=True)
        (folder / "inner" / "weights").write_bytes(b"123")
        (folder / "config").write_bytes(b"4")

    workspace = Workspace(tmp_path)
    who = Identity("train", 1, 0, {}, {}, {})
    manifest = complete(workspace, "round-00/train", [Part(WHOLE, files={"checkpoint": write})], who)
    assert [s.file for s in manifest.record.files["checkpoint"]] == ["checkpoint/config", "checkpoint/inner/weights"]
    source = FileSource(workspace.final("round-00/train"), "checkpoint", manifest, {})
    assert (source.path() / "inner" / "weights").read_bytes() == b"123"


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_file_is_refused_before_it_is_read(tmp_path, damage):
    workspace = Workspace(tmp_path)
    manifest = complete(workspace, "round-00/sample", [Part(WHOLE, {"shortfall": SHORTFALL})], identity())
    path = workspace.final("round-00/sample") / "shortfall-00000.parquet"
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(data[:-9])
    else:
        path.unlink()
    with pytest.raises(ArtefactError) as caught:
        TableSource(workspace.final("round-00/sample"), "shortfall", manifest, {}).read()
    assert str(path) in str(caught.value)
    assert "runs again" in str(caught.value)
    if damage != "flip":
        assert workspace.lacks("round-00/sample", manifest) == "shortfall-00000.parquet"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 99}'])
def test_a_damaged_manifest_is_refused(tmp_path, text):
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(ArtefactError, match="manifest"):
        read(path)


def test_a_changed_manifest_is_refused(tmp_path):
    workspace = Workspace(tmp_path)
    complete(workspace, "round-00/sample", [Part(WHOLE, {"shortfall": SHORTFALL})], identity(negatives=5))
    path = workspace.final("round-00/sample") / "manifest.json"
    path.write_text(path.read_text().replace('"negatives": 5', '"negatives": 6'))
    with pytest.raises(ArtefactError, match="damaged"):
        workspace.manifest("round-00/sample")


def test_the_same_parts_give_the_same_bytes(tmp_path):
    prints = []
    for name in ("a", "b"):
        workspace = Workspace(tmp_path / name)
        complete(workspace, "round-00/sample", [Part(WHOLE, {"shortfall": SHORTFALL})], identity())
        folder = workspace.final("round-00/sample")
        prints.append({f: sha256(folder / f) for f in files(folder) if f != "run.json"})
    assert prints[0] == prints[1]


def test_wide_rows_go_into_small_row_groups(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    from pipeline import store

    monkeypatch.setattr(store, "GROUP_BYTES", 1000)
    wide = pa.table({"text": ["x" * 500] * 10})
    store.write_table(wide, tmp_path / "t.parquet")
    file = pq.ParquetFile(tmp_path / "t.parquet")
    assert file.num_row_groups >= 5
    assert file.read().equals(wide)


def test_checking_names_what_differs(tmp_path):
    workspace = Workspace(tmp_path)
    manifest = complete(workspace, "round-00/sample", [Part(WHOLE, {"shortfall": SHORTFALL})], identity())
    stored = manifest.record.tables["shortfall"][0]
    assert check(workspace.final("round-00/sample"), stored).name == "shortfall-00000.parquet"
    commit_json(tmp_path / "x.json", {"ä": 1})
    assert (tmp_path / "x.json").read_text() == '{\n "ä": 1\n}\n'


@pytest.mark.parametrize(("storage", "most"), [("float32", 4.1), ("float16", 2.1), ("int8", 1.1)])
def test_a_vector_takes_the_bytes_of_its_values(tmp_path, storage, most):
    """Parquet has no value of one byte: without a dictionary int8 would take four."""
    values = np.random.default_rng(0).normal(size=(5_000, 64)).astype(np.float32)
    stored = vector_table(np.arange(5_000), values, storage)
    write_table(stored, tmp_path / "vectors.parquet")
    assert (tmp_path / "vectors.parquet").stat().st_size < 5_000 * (64 * most + 12)
    assert pq.read_table(tmp_path / "vectors.parquet").equals(stored)
