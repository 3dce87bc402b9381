"""Files damaged by dd, truncate, sed and mv, as hands and scripts do it: found before they are used, and by `verify`."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline import source
from pipeline.cli.verify import verify
from pipeline.manifest import Stored, read
from pipeline.store import Workspace
from pipeline.verify import faults
from stages.errors import HardrockError
from tests.faults import world
from tests.faults.conftest import SEED
from tests.faults.test_corruption import KINDS, place

PICTURED = {
    "pictures": "ingest/pictures-00000.parquet",
    "tar": "round-00/export/exports/webdataset/data/00000.tar",
    "picture": "round-00/export/exports/open_clip/images",
    "captions": "round-00/export/exports/open_clip/data/train.tsv",
    "card of an export": "round-00/export/exports/webdataset/export.json",
    "page": "report/index.html",
    "metrics": "report/metrics.json",
}
"""Files of a workspace of pictures, beside `KINDS` of one of texts."""


def shell(line: str) -> Callable[[Path, Path, Path, random.Random], None]:
    """A command of the shell: $F is the file, $O another of its kind, $N its size and $A a place in it."""

    def damage(path: Path, other: Path, old: Path, chance: random.Random) -> None:
        size = path.stat().st_size
        values = {"F": str(path), "O": str(other), "P": str(old), "N": str(size), "A": str(chance.randrange(size))}
        subprocess.run(["sh", "-ec", line], env={**os.environ, **values}, check=True, capture_output=True)

    return damage


def _folder(path: Path, *_: object) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path, *_: object) -> None:
    path.unlink()
    os.mkfifo(path)


TOOLS: dict[str, Callable[[Path, Path, Path, random.Random], None]] = {
    "dd of zeros in the middle": shell('dd if=/dev/zero of="$F" bs=1 seek=$((N / 2)) count=16 conv=notrunc && printf "\\001" | dd of="$F" bs=1 seek=$((N / 2)) conv=notrunc'),
    "dd of random bytes": shell('dd if=/dev/urandom of="$F" bs=1 seek="$A" count=8 conv=notrunc'),
    "printf of a byte": shell('printf "\\377\\000" | dd of="$F" bs=1 seek=$((N - 2)) conv=notrunc'),
    "truncate by a byte": shell('truncate -s -1 "$F"'),
    "truncate to nothing": shell('truncate -s 0 "$F"'),
    "truncate beyond the end": shell('truncate -s +1 "$F"'),
    "sed": shell("""sed -i '1s/./#/' "$F" """),
    "appended bytes": shell('printf x >> "$F"'),
    "an appended line end": shell('echo >> "$F"'),
    "two files swapped": shell('mv "$F" "$F.swap" && mv "$O" "$F" && mv "$F.swap" "$O"'),
    "another file copied over it": shell('cp "$O" "$F"'),
    "an older version": shell('cp "$P" "$F"'),
    "deleted": shell('rm "$F"'),
    "moved away": shell('mv "$F" "$F.bak"'),
    "unpacked line ends": shell("""printf '\\r\\n' | cat - "$F" > "$F.new" && mv "$F.new" "$F" """),
    "a link to another file": shell('ln -sf "$O" "$F"'),
    "a link to nowhere": shell('ln -sf /nowhere/at/all "$F"'),
    "a folder": _folder,
    "a pipe": _pipe,
}  # fmt: skip
"""What hands and scripts do to a file; each leaves other bytes under its name."""


@pytest.fixture(scope="module")
def pictured(bench) -> Path:
    """A workspace of pictures with exports of them."""
    workspace = bench.fresh("pictured")
    changes = world.write_pictures(bench.fresh("pictures"))
    ended = bench.server.run(bench.data, workspace, changes=changes)
    assert ended.code == 0, ended.said
    return workspace


@pytest.fixture(scope="module")
def older(bench) -> Path:
    """The workspace of another configuration: each of its files is a sound one, of another time."""
    workspace = bench.fresh("older")
    changes = {"embed": {"shard_rows": 5}, "mine": {"depth": 9, "shard_queries": 3}}
    ended = bench.server.run(bench.data, workspace, changes=changes)
    assert ended.code == 0, ended.said
    return workspace


def found_by(workspace: Path, kind: str) -> Path:
    if kind in KINDS:
        return place(workspace, kind)
    path = workspace / PICTURED[kind]
    return next(p for p in sorted(path.rglob("*")) if p.is_file()) if path.is_dir() else path


def others(path: Path, workspace: Path, older: Path) -> tuple[Path, Path]:
    """Another file of the same kind in the workspace, and one of the same name in the older one; of other bytes both."""
    content = path.read_bytes()
    files = [p for p in sorted(workspace.rglob("*")) if p.is_file() and p.stat().st_size and p.read_bytes() != content]
    beside = [p for p in files if p.suffix == path.suffix] or files
    old = older / path.relative_to(workspace)
    return beside[0], old if old.is_file() and old.read_bytes() != content else beside[-1]


def check_tool(workspace: Path, older: Path, kind: str, tool: str) -> None:
    """The file is named by its reader and by `verify`, each with the mend."""
    path = found_by(workspace, kind)
    folder = workspace / Path(*path.relative_to(workspace).parts[: 1 if path.parts[-2] in ("ingest", "report") else 2])
    manifest = read(folder / "manifest.json")
    stored = {folder / one.file: one for one in manifest.record.stored()}.get(path)
    other, old = others(path, workspace, older)
    TOOLS[tool](path, other, old, random.Random(f"{SEED} {kind} {tool}"))
    found = [
        fault for fault in faults(Workspace(workspace))[2] if folder in (Path(fault.path), *Path(fault.path).parents)
    ]
    assert found, (kind, tool)
    assert all(f"remove {folder}" in fault.mend for fault in found)
    if stored is not None:
        assert str(path) in {fault.path for fault in found}, (tool, found)
    says = refused(path, folder, stored, manifest.key)
    assert str(path) in says, (tool, says)
    assert f"remove {folder}" in says, (tool, says)


def refused(path: Path, folder: Path, stored: Stored | None, key: str) -> str:
    """What a reader says. A manifest that is gone, or another result's, is none of this result: it is made again."""
    source._checked.clear()
    try:
        if stored is not None:
            source.check(folder, stored)
        elif (found := read(path)) is None or found.key != key:
            return f"{path} is none of this result: as if one did remove {folder}"
    except HardrockError as error:
        return str(error)
    raise AssertionError(f"{path} was taken as it is")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, *PICTURED])
def test_what_other_tools_do_is_found(bench, pictured, older, kind):
    start = bench.good if kind in KINDS else pictured
    for tool in TOOLS:
        workspace = bench.copy("damaged", of=start)
        check_tool(workspace, older, kind, tool)
    print(f"\n{kind}: {len(TOOLS)} of {len(TOOLS)} damages by other tools found by the reader and by verify")


JUDGED = {"judge": {"filters": {"known_positive": {}}}}


@pytest.fixture(scope="module")
def judged(bench) -> dict[str, str]:
    """What is there when judge has run again over sound files."""
    workspace = bench.copy("judged")
    assert bench.server.run(bench.data, workspace, changes=JUDGED).code == 0
    return world.content(workspace)


@pytest.mark.slow
@pytest.mark.parametrize("tool", TOOLS)
def test_a_run_uses_no_damaged_input_and_its_mend_works(bench, older, judged, tool):
    """What judge reads is damaged, and judge has to run: it stops, and goes on when what it names is removed."""
    workspace, changes = bench.copy("damaged"), JUDGED
    path = workspace / "round-00/mine/candidates-00000.parquet"
    other, old = others(path, workspace, older)
    TOOLS[tool](path, other, old, random.Random(SEED))
    ended = bench.server.run(bench.data, workspace, changes=changes)
    assert "Traceback" not in ended.said
    if ended.code != 0:  # a file that is missing, or of another size, makes its own stage stale
        assert ended.code == 5, ended.said
        assert str(path) in ended.said
        assert f"remove {path.parent}" in ended.said
        shutil.rmtree(path.parent)
        ended = bench.server.run(bench.data, workspace, changes=changes)
        assert ended.code == 0, ended.said
    there = world.content(workspace)
    assert {name: there.get(name) for name in judged} == judged


def test_verify_tells_of_many_damages_at_once(bench, pictured):
    workspace = bench.copy("damaged", of=pictured)
    paths = [found_by(workspace, kind) for kind in PICTURED]
    for path in paths:
        subprocess.run(["truncate", "-s", "-1", str(path)], check=True)
    (bench.folder / "hardrock.toml").write_text("")
    arguments = ["--config", str(bench.folder / "hardrock.toml"), "--workspace", str(workspace)]
    done = CliRunner().invoke(verify, [*arguments, "--json"])
    assert done.exit_code == 5
    assert {f["path"] for f in json.loads(done.stdout)["faults"]} == {str(path) for path in paths}


def test_a_file_without_permissions_is_named(bench):
    """As another user, whom the kernel does refuse; `chmod 000` stops no root."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    workspace = bench.copy("damaged")
    path = workspace / "round-00/mine/candidates-00000.parquet"
    path.chmod(0)
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom pipeline.store import Workspace\n"
        "from pipeline.verify import faults\nos.setuid(65534)\nprint([(f.path, f.what) for f in faults(Workspace(Path(sys.argv[1])))[2]])"
    )
    subprocess.run(["chmod", "-R", "a+rX", str(workspace), str(bench.folder)], check=True)
    path.chmod(0)
    bench.folder.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", code, str(workspace)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(path) in done.stdout
    assert "Permission denied" in done.stdout
