"""One bit, or the end of a file: always found before it is used, by the reader and by `verify`, with name and mend."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline import plan, source
from pipeline.cli.verify import verify
from pipeline.manifest import Stored, read
from pipeline.store import Workspace
from pipeline.verify import faults
from stages.errors import ArtefactError
from tests.faults.conftest import SEED, Bench

KINDS = {
    "Parquet": "round-00/judge/judged-00000.parquet",
    "vectors": "round-00/embed/corpus_vectors-00000.parquet",
    "FAISS": "round-00/index/corpus.faiss",
    "safetensors": "round-00/train/checkpoint/inner/model.safetensors",
    "manifest": "round-00/mine/manifest.json",
    "run": "round-00/evaluate/runs",
    "export": "round-00/export/exports/st_triplet/data",
}


def place(workspace: Path, kind: str) -> Path:
    path = workspace / KINDS[kind]
    return next(p for p in sorted(path.rglob("*")) if p.is_file()) if path.is_dir() else path


def damages(path: Path, count: int, seed: int):
    """The file with one bit changed (four in five) or cut, `count` times."""
    whole, chance = path.read_bytes(), random.Random(SEED * 1_000 + seed)
    for i in range(count):
        data = bytearray(whole)
        if i % 5:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        else:
            del data[chance.randrange(len(data)) :]
        yield bytes(data)


def refused(path: Path, folder: Path, stored: Stored | None) -> str:
    """What a reader says of a damaged file."""
    source._checked.clear()
    with pytest.raises(ArtefactError) as caught:
        read(path) if stored is None else source.check(folder, stored)
    return str(caught.value)


def check_damages(bench: Bench, kind: str, count: int) -> None:
    """Each damage is found by whoever reads the file, and by `verify`."""
    inside = Path(*Path(KINDS[kind]).parts[:2])
    workspace = bench.copy(of=bench.good / inside, inside=inside)  # that result alone: verify is asked each time
    path, folder = place(workspace, kind), workspace / inside
    stored = {folder / one.file: one for one in read(folder / "manifest.json").record.stored()}.get(path)
    assert (stored is None) == (kind == "manifest")
    whole = path.read_bytes()
    assert faults(Workspace(workspace)) == (1, len(read(folder / "manifest.json").record.stored()) + 1, [])
    for data in damages(path, count, len(kind)):
        path.write_bytes(data)
        says = refused(path, folder, stored)
        assert str(path) in says
        assert f"remove {folder}" in says
        (found,) = faults(Workspace(workspace))[2]
        assert found.path == str(path)
        assert f"remove {folder}" in found.mend
    path.write_bytes(whole)
    assert faults(Workspace(workspace))[2] == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_of_damages(bench, kind):
    check_damages(bench, kind, 20)


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_damages(bench, kind):
    check_damages(bench, kind, 1_000)
    print(f"\n{kind}: 1,000 of 1,000 damages found by the reader and by verify")


def test_one_bit_of_any_file_is_found(bench):
    workspace, chance = bench.copy(), random.Random(SEED)
    files = [workspace / name for name in bench.expected]
    assert len(files) > 60
    for path in files:
        whole = path.read_bytes()
        data = bytearray(whole)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        assert [fault.path for fault in faults(Workspace(workspace))[2]] == [str(path)]
        path.write_bytes(whole)


def test_a_damaged_input_stops_the_run_and_its_mend_works(bench):
    workspace = bench.copy()
    path = workspace / "round-00/mine/candidates-00000.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    changes = {"judge": {"filters": {"known_positive": {}}}}
    ended = bench.server.run(bench.data, workspace, changes=changes)
    assert ended.code == 5
    assert str(path) in ended.said
    assert f"remove {path.parent}" in ended.said
    for inside in path.parent.iterdir():
        inside.unlink()
    path.parent.rmdir()
    assert bench.server.run(bench.data, workspace, changes=changes).code == 0
    assert faults(Workspace(workspace))[2] == []


def test_verify_names_all_faults_and_ends_with_5(bench):
    workspace = bench.copy()
    (workspace / "report/index.html").unlink()
    (workspace / "round-00/export/exports/st_triplet/ids.parquet").write_bytes(b"PAR1")
    (workspace / "round-00/judge/notes.txt").write_text("mine")
    configuration = bench.folder / "hardrock.toml"
    configuration.write_text("")
    arguments = ["--config", str(configuration), "--workspace", str(workspace)]
    done = CliRunner().invoke(verify, [*arguments, "--json"], standalone_mode=False)
    found = json.loads(done.output)
    assert [(Path(f["path"]).name, f["what"].split(",")[0]) for f in found["faults"]] == [
        ("index.html", "missing"),
        ("ids.parquet", "4 bytes"),
        ("notes.txt", "a file that the manifest does not name"),
    ]
    assert found["results"] == len(plan.nodes(1))
    assert CliRunner().invoke(verify, arguments).exit_code == 5
    assert CliRunner().invoke(verify, ["--config", str(configuration), "--workspace", str(bench.good)]).exit_code == 0


def test_a_damaged_record_of_a_finished_shard_is_made_again(bench):
    """Half a run, then one bit of what it keeps to go on from."""
    at = next(i for i, e in enumerate(bench.events, 1) if e.startswith("os.rename") and "round-00.mine/shards" in e)
    workspace = bench.fresh()
    bench.server.run(bench.data, workspace, do="kill", at=at + 3)
    record = next((workspace / ".building/round-00.mine/shards").glob("*.json"))
    record.write_bytes(record.read_bytes().replace(b'"counters"', b'"coumters"'))
    ended = bench.server.run(bench.data, workspace)
    assert ended.code == 0, ended.said
    from tests.faults.world import content

    assert content(workspace) == bench.expected
