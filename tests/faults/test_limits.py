"""What the kernel itself refuses: files that shrink while they are mapped, limits on their size, a disk that is full."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline import source
from pipeline.manifest import read
from pipeline.source import TableSource
from pipeline.store import Workspace, commit, write_table
from pipeline.verify import faults
from stages.errors import ArtefactError
from tests.faults import world
from tests.faults.server import ROOT

CUT = """
import os, sys
from pathlib import Path
import numpy as np
from pipeline.cli.guard import guarded
from stages.indexes.exact import Exact

place = Path(sys.argv[1])

def search():
    vectors = np.random.default_rng(0).standard_normal((4000, 64)).astype(np.float32)
    index = Exact(kernel="fp32", device="cpu")
    index.save(index.build([vectors], 4000, 64), place)
    loaded = index.load(place, 4000, 64)
    os.truncate(place, int(sys.argv[2]))
    print(loaded.search(vectors[:2], 3))

sys.exit(guarded(search))
"""


@pytest.mark.parametrize("size", [0, 300_000])
def test_a_mapped_file_that_is_cut_short_ends_the_process_with_a_message(tmp_path, size):
    place = tmp_path / "corpus [1].npy"
    done = subprocess.run(
        [sys.executable, "-c", CUT, str(place), str(size)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (5, "")
    assert "a file was cut short while it was read" in done.stderr
    assert str(place) in done.stderr
    assert "Traceback" not in done.stderr


def test_an_input_that_shrinks_while_a_stage_reads_it_gives_no_result(bench, monkeypatch):
    """Less than a page is cut off: the map reads as zeros, and no signal comes."""
    workspace = bench.copy()
    index = workspace / "round-00/index/corpus.faiss"
    world.lighten(monkeypatch.setattr)
    monkeypatch.setattr(source, "_checked", set())
    changes = {"mine": {"depth": 7, "shard_queries": 2}}
    runner = world.runner(bench.data, workspace, **changes)
    from stages import mine

    real = mine.run

    def shrinks(*given):
        for part in real(*given):
            os.truncate(index, index.stat().st_size - 1)
            yield part

    monkeypatch.setattr(mine, "run", shrinks)
    before = read(workspace / "round-00/mine/manifest.json")
    with pytest.raises(ArtefactError, match="damaged") as caught:
        runner.run(world.plan.nodes(1))
    assert str(index) in str(caught.value)
    assert f"remove {index.parent}" in str(caught.value)
    assert list((workspace / ".building/round-00.mine/shards").iterdir()) == []
    assert read(workspace / "round-00/mine/manifest.json") == before


@pytest.mark.parametrize("whole", [True, False])
def test_a_table_that_shrinks_while_it_is_read_is_named(bench, monkeypatch, whole):
    workspace = bench.copy()
    monkeypatch.setattr(source, "_checked", set())
    folder = workspace / "round-00/judge"
    table = TableSource(folder, "judged", read(folder / "manifest.json"), {})
    path = folder / table.parts[0]
    assert len(table.read()) == 40
    os.truncate(path, 0 if whole else path.stat().st_size // 2)
    with pytest.raises(ArtefactError) as caught:
        table.read()
    assert str(path) in str(caught.value)
    with pytest.raises(ArtefactError, match="after it was read"):
        table.recheck()


def _parquet(path: Path) -> None:
    write_table(pa.table({"text": [os.urandom(40).hex() for _ in range(4000)]}), path)


def _faiss(path: Path) -> None:
    from stages.indexes.flat import Flat

    index = Flat()
    index.save(index.build([np.eye(300, dtype=np.float32)], 300, 300), path)


def _exact(path: Path) -> None:
    from stages.indexes.exact import Exact

    index = Exact(kernel="fp32", device="cpu")
    index.save(index.build([np.eye(300, dtype=np.float32)], 300, 300), path)


def _safetensors(path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"weights": torch.zeros(90_000)}, path)


def _folder(path: Path) -> None:
    path.mkdir()
    _safetensors(path / "model.safetensors")


def _state(path: Path) -> None:
    import torch

    torch.save({"weights": torch.zeros(90_000)}, path)


WRITERS = {
    "Parquet": _parquet,
    "FAISS": _faiss,
    "exact": _exact,
    "safetensors": _safetensors,
    "checkpoint": _folder,
    "torch": _state,
}


LIMITED = """
import resource, sys
from pathlib import Path
from pipeline.store import commit
from tests.faults.test_limits import WRITERS

path, write = Path(sys.argv[1]), WRITERS[sys.argv[2]]
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
try:
    commit(path, write)
except BaseException as error:
    print(f"{type(error).__name__}: {error}")
"""


def says_under_limit(path: Path, writer: str) -> str:
    """What a writer says that may write 64 KiB: in a fresh process, since a forked one may wait for ever for threads."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path), writer], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("writer", WRITERS)
def test_a_writer_that_hits_the_limit_of_a_file_names_it_and_leaves_what_was_there(tmp_path, writer):
    path = tmp_path / "result"
    path.write_bytes(b"earlier")
    says = says_under_limit(path, writer)
    assert says.startswith("StorageError: the file system refuses"), says
    assert str(tmp_path) in says
    assert "File too large" in says or "inline_container.cc" in says or "unexpected pos" in says
    assert [p.name for p in tmp_path.iterdir()] == ["result"]
    assert path.read_bytes() == b"earlier"
    commit(tmp_path / "next", WRITERS[writer])
    size = sum(p.stat().st_size for p in [tmp_path / "next", *(tmp_path / "next").rglob("*")] if p.is_file())
    assert size > 1 << 16


FLAT = {"index": {"recall_depth": 5, "kind": {"name": "flat"}}}


@pytest.mark.parametrize("limit", [300, 900, 3_000])
def test_a_run_goes_on_when_the_limit_of_a_file_is_gone(bench, limit):
    reference, workspace = bench.fresh("flat"), bench.fresh()
    assert bench.server.run(bench.data, reference, changes=FLAT).code == 0
    ended = bench.server.run(bench.data, workspace, changes=FLAT, limit=limit)
    assert ended.code == 74, ended.said
    assert "Traceback" not in ended.said
    assert str(workspace) in ended.said
    assert faults(Workspace(workspace))[2] == []
    assert bench.server.run(bench.data, workspace, changes=FLAT).code == 0
    assert world.content(workspace) == world.content(reference)


DISK = """
import os, shutil, subprocess, sys
from pathlib import Path
from pipeline.cli.guard import guarded
from pipeline.cli.run import bring
from pipeline.store import Workspace
from pipeline.verify import faults
from tests.faults import world

world.lighten()
data, disk = Path(sys.argv[1]), Path(sys.argv[2])
changes = {"index": {"recall_depth": 5, "kind": {"name": "flat"}}}
sys.argv = ["hardrock", "run"]

def run():
    return guarded(lambda: bring(world.runner(data, disk / "ws", ignore_space=True, **changes), set))

os.environ["TMPDIR"] = "/tmp"
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk], check=True)
assert run() == 0
expected = world.content(disk / "ws")
for size in map(int, sys.stdin.read().split()):
    shutil.rmtree(disk / "ws")
    subprocess.run(["mount", "-o", f"remount,size={size}k", disk], check=True)
    code = run()
    assert code == 74, (size, code)
    assert not list((disk / "ws").glob(".catalog*")), list((disk / "ws").glob(".catalog*"))
    wrong = faults(Workspace(disk / "ws"))[2]
    assert wrong == [], (size, wrong)
    subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
    assert run() == 0
    assert world.content(disk / "ws") == expected, size
    print("full", size, flush=True)
"""


def has_namespaces() -> bool:
    try:
        return not subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False).returncode  # fmt: skip
    except OSError:
        return False


def check_disks(bench, sizes: list[int]) -> None:
    """A disk that is full at different places of a run; then there is room, and the run ends as it should."""
    disk = bench.fresh("disk")
    disk.mkdir()
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", DISK, str(bench.data), str(disk)], cwd=ROOT, capture_output=True,
        text=True, input=" ".join(map(str, sizes)), check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == [f"full {size}" for size in sizes]
    assert "Traceback" not in done.stderr
    assert done.stderr.count(f"{disk}/ws") >= len(sizes)


@pytest.mark.skipif(not has_namespaces(), reason="no mounts for users here")
def test_a_run_on_a_full_disk_names_it_and_goes_on_when_there_is_room(bench):
    check_disks(bench, [60, 300])


@pytest.mark.faults
@pytest.mark.skipif(not has_namespaces(), reason="no mounts for users here")
def test_disks_of_many_sizes_are_full(bench):
    sizes = list(range(12, 600, 12))
    check_disks(bench, sizes)
    print(f"\nthe disk full at {len(sizes)} sizes")
