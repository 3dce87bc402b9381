"""Push and pull: what is seen is whole, whatever is killed and when; a changed byte is told; nobody's work is lost unasked."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import remote
from pipeline.fingerprint import sha256
from pipeline.objects import ChangedError, Objects, Place
from pipeline.remote import HEAD, Head, pull, push
from pipeline.store import Workspace
from pipeline.verify import faults
from stages.errors import ArtefactError, StorageError
from stages.spec import Part, Shard
from tests.pipeline.test_store import MORE, SHORTFALL, complete, identity
from tests.s3 import SECRET, s3, server  # noqa: F401

ROOT = Path(__file__).parents[2]


def write(path: Path, text: str) -> None:
    path.mkdir()
    (path / "weights").write_text(text * 1000)
    (path / "inner").mkdir()
    (path / "inner/config.json").write_text("{}")


def made(root: Path, text: str = "a") -> Workspace:
    """Two results: one of tables, one of a folder; and labels."""
    workspace = Workspace(root)
    parts = [
        Part(Shard("pairs", 0), {"shortfall": SHORTFALL}),
        Part(Shard("pairs", 1), {"shortfall": MORE}, facts={"text": text}),
    ]
    complete(workspace, "round-00/sample", parts, identity(text=text))
    whole = Part(Shard("whole", 0), files={"model": lambda path: write(path, text)})
    complete(workspace, "round-00/train", [whole], identity("train", text=text))
    (root / "labels.jsonl").write_text(f'{{"text": "{text}"}}\n')
    return workspace


def content(root: Path) -> dict[str, bytes]:
    """All of a workspace that is not hidden."""
    places = (p for p in root.rglob("*") if p.is_file())
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in places
        if not str(p.relative_to(root)).startswith((".", "lock", "logs", "workers"))
    }


@pytest.fixture
def memory() -> Objects:
    obstore = pytest.importorskip("obstore")
    return Objects(Place.of("s3://bucket/some/place"), store=obstore.store.MemoryStore())


def names(place: Objects) -> set[str]:
    return {one.name for one in place.listed()}


def test_what_is_pushed_is_pulled_byte_for_byte(memory, tmp_path):
    workspace = made(tmp_path / "a")
    moved = push(workspace, memory)
    assert moved.results == 2
    assert moved.files == len(names(memory)) - 1
    fetched = pull(Workspace(tmp_path / "b"), memory)
    assert content(tmp_path / "b") == content(tmp_path / "a")
    assert faults(Workspace(tmp_path / "b"))[2] == []
    assert fetched.results == 2
    assert list((tmp_path / "b/.building").iterdir()) == []


def test_objects_have_the_name_of_their_content(memory, tmp_path):
    workspace = made(tmp_path / "a")
    push(workspace, memory)
    held = {sha256(p) for p in tmp_path.joinpath("a").rglob("*") if p.is_file() and p.name != remote.SYNCED}
    assert names(memory) == {HEAD, *(f"objects/{sha}" for sha in held)}


def test_only_what_is_missing_is_moved(memory, tmp_path):
    workspace = made(tmp_path / "a")
    push(workspace, memory)
    assert push(workspace, memory).files == 0
    other = Workspace(tmp_path / "b")
    pull(other, memory)
    assert (pull(other, memory).results, pull(other, memory).files) == (0, 0)
    shutil.rmtree(tmp_path / "a/round-00/sample")
    parts = [Part(Shard("pairs", 0), {"shortfall": SHORTFALL}), Part(Shard("pairs", 1), {"shortfall": SHORTFALL})]
    complete(workspace, "round-00/sample", parts, identity(text="b"))
    assert push(workspace, memory).files == 1  # the manifest: both tables have the bytes of the first
    moved = pull(other, memory)
    assert (moved.results, moved.files) == (1, 2)  # manifest.json and run.json
    assert content(tmp_path / "b") == content(tmp_path / "a")


class Killed(BaseException):
    pass


class Dying(Objects):
    """Dies at its n-th request: before it or after it has been done."""

    def __init__(self, whole: Objects, at: int, after: bool) -> None:
        super().__init__(whole.place, store=whole._store)
        self.left, self.after = at, after

    def _dies(self) -> bool:
        self.left -= 1
        return self.left < 0

    def put(self, name, data, tag=None):
        dies = self._dies()
        if not dies or self.after:
            super().put(name, data, tag)
        if dies:
            raise Killed

    def read(self, name, tag=None):
        dies = self._dies()
        for piece in super().read(name, tag):
            if dies:
                yield piece[: len(piece) // 2]
                break
            yield piece
        if dies:
            raise Killed

    def get(self, name):
        if self._dies():
            raise Killed
        return super().get(name)


def visible(place: Objects) -> Head | None:
    """What a reader sees: every object of it must be there, and whole."""
    found = place.get(HEAD)
    if found is None:
        return None
    head = Head.of(found[0], "head")
    there = names(place)
    for files in head.results.values():
        manifest = json.loads(place.get(f"objects/{files['manifest.json'].sha256}")[0])
        stored = [one for kind in ("tables", "files") for many in manifest[kind].values() for one in many]
        assert {f"objects/{one['sha256']}" for one in stored} <= there
    return head


@pytest.mark.parametrize("after", [False, True])
def test_a_push_that_dies_at_any_request_changes_nothing_that_is_seen(memory, tmp_path, monkeypatch, after):
    monkeypatch.setattr("pipeline.progress.AT_ONCE", 1)
    deaths = 0
    for at in range(100):
        store = Objects(memory.place, store=type(memory._store)())
        workspace, new = made(tmp_path / f"{at}-a"), made(tmp_path / f"{at}-new", "b")
        push(workspace, store)
        before, then = visible(store), remote._here(new)[0]
        shutil.copy(workspace.root / remote.SYNCED, new.root)
        try:
            push(new, Dying(store, at, after))
            break
        except Killed:
            deaths += 1
        assert visible(store) in (before, then)
        pull(Workspace(tmp_path / f"{at}-seen"), store)
        assert content(tmp_path / f"{at}-seen") in (content(workspace.root), content(new.root))
        push(new, store)  # the same command again
        assert visible(store) == then
        pull(Workspace(tmp_path / f"{at}-b"), store)
        assert content(tmp_path / f"{at}-b") == content(new.root)
    assert deaths == 6  # the head is read; labels, weights and two manifests are new; the head is written


def test_a_pull_that_dies_at_any_request_goes_on(memory, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.progress.AT_ONCE", 1)
    push(made(tmp_path / "a"), memory)
    for at in range(100):
        place = Workspace(tmp_path / f"b{at}")
        try:
            pull(place, Dying(memory, at, False))
            break
        except Killed:
            for name in ("round-00/sample", "round-00/train"):
                assert place.manifest(name) is None or faults(place)[2] == []
        place.recover()
        pull(place, memory)
        assert content(place.root) == content(tmp_path / "a")
    assert at >= 8


def test_a_changed_byte_of_an_object_is_told_and_mended_by_another_push(memory, tmp_path):
    workspace = made(tmp_path / "a")
    push(workspace, memory)
    for one in list(memory.listed("objects")):
        data = memory.get(one.name)[0]
        if not data:
            continue
        memory.put(one.name, bytes([data[0] ^ 1]) + data[1:])
        with pytest.raises(ArtefactError, match="damaged") as refused:
            pull(Workspace(tmp_path / "b"), memory)
        assert one.name in str(refused.value)
        assert "--anew" in str(refused.value)
        push(workspace, memory)  # looks at names and sizes alone
        assert memory.get(one.name)[0] != data
        push(workspace, memory, anew=True)
        assert memory.get(one.name)[0] == data
        shutil.rmtree(tmp_path / "b")
    pull(Workspace(tmp_path / "b"), memory)
    assert content(tmp_path / "b") == content(tmp_path / "a")


def test_an_object_that_is_missing_or_short_is_told_and_sent_again(memory, tmp_path):
    workspace = made(tmp_path / "a")
    push(workspace, memory)
    table = f"objects/{sha256(tmp_path / 'a/round-00/sample/shortfall-00000.parquet')}"
    whole = memory.get(table)[0]
    memory.remove(table)
    with pytest.raises(ArtefactError, match="an object is missing") as refused:
        pull(Workspace(tmp_path / "b"), memory)
    assert "shortfall-00000.parquet" in str(refused.value)
    push(workspace, memory)
    memory.put(table, whole[:-1])
    with pytest.raises(ArtefactError, match="damaged"):
        pull(Workspace(tmp_path / "b"), memory)
    push(workspace, memory)
    assert memory.get(table)[0] == whole


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff"])
def test_a_damaged_head_is_told(memory, tmp_path, data):
    workspace = made(tmp_path / "a")
    push(workspace, memory)
    memory.put(HEAD, data)
    for move in (push, pull):
        with pytest.raises(ArtefactError, match="head of a workspace is damaged"):
            move(workspace, memory)
    push(workspace, memory, replace=True)
    pull(Workspace(tmp_path / "b"), memory)


def test_a_head_or_a_manifest_cannot_name_files_elsewhere(memory, tmp_path):
    workspace = made(tmp_path / "a")
    push(workspace, memory)
    head = Head.of(memory.get(HEAD)[0], "head")
    for name in ("../a", "/etc", "round-00/../b", ".building"):
        memory.put(HEAD, Head({name: head.results["round-00/train"]}).data())
        with pytest.raises(ArtefactError, match="damaged"):
            pull(Workspace(tmp_path / "b"), memory)
    manifest = workspace.manifest("round-00/train")
    for file in ("../evil", "/tmp/evil", "a/../../evil"):
        stored = {"model": tuple(remote.Stored(file, one.bytes, one.sha256) for one in manifest.record.stored())}
        evil = remote.Manifest(manifest.identity, manifest.key, type(manifest.record)({}, stored))
        data = remote.spelled(evil.as_json())
        (tmp_path / "evil.json").write_bytes(data)
        own = remote.Stored("manifest.json", len(data), sha256(tmp_path / "evil.json"))
        memory.put(f"objects/{own.sha256}", data)
        memory.put(HEAD, Head({"train": {**head.results["round-00/train"], "manifest.json": own}}).data())
        with pytest.raises(ArtefactError, match="outside of its result"):
            pull(Workspace(tmp_path / "b"), memory)
    assert not list(tmp_path.glob("evil")) + list(tmp_path.glob("b/evil"))


def test_what_others_have_pushed_is_not_replaced_unasked(memory, tmp_path):
    mine, others = made(tmp_path / "a"), made(tmp_path / "b", "b")
    push(mine, memory)
    with pytest.raises(ArtefactError, match="others have pushed") as refused:
        push(others, memory)
    assert "round-00/sample" in str(refused.value)
    assert visible(memory) == remote._here(mine)[0]
    push(others, memory, replace=True)
    with pytest.raises(ArtefactError, match="others have pushed"):  # what is there now this one has never seen
        push(mine, memory)
    assert visible(memory) == remote._here(others)[0]


def test_what_was_made_here_is_not_replaced_unasked_and_what_was_pulled_is(memory, tmp_path):
    first = made(tmp_path / "a")
    push(first, memory)
    second = Workspace(tmp_path / "b")
    pull(second, memory)
    shutil.rmtree(tmp_path / "a/round-00/train")
    whole = Part(Shard("whole", 0), files={"model": lambda path: write(path, "newer")})
    complete(first, "round-00/train", [whole], identity("train", text="newer"))
    push(first, memory)
    pull(second, memory)  # it has nothing of its own
    assert content(tmp_path / "b") == content(tmp_path / "a")
    made(tmp_path / "c", "other")
    with pytest.raises(ArtefactError, match="results of its own") as refused:
        pull(Workspace(tmp_path / "c"), memory)
    assert "round-00/train" in str(refused.value)
    assert content(tmp_path / "c") != content(tmp_path / "a")
    pull(Workspace(tmp_path / "c"), memory, replace=True)
    assert content(tmp_path / "c") == content(tmp_path / "a")


def test_of_two_pushes_at_once_one_is_told(memory, tmp_path, monkeypatch):
    first, second = made(tmp_path / "a"), made(tmp_path / "b", "b")
    sent = Objects.send

    def late(self, name, path, expected):
        if not names(memory) & {HEAD}:
            monkeypatch.setattr(Objects, "send", sent)
            push(second, Objects(memory.place, store=memory._store))
        sent(self, name, path, expected)

    monkeypatch.setattr("pipeline.progress.AT_ONCE", 1)
    monkeypatch.setattr(Objects, "send", late)
    with pytest.raises(ChangedError, match="another process has changed it"):
        push(first, memory)
    assert visible(memory) == remote._here(second)[0]


def test_a_result_that_is_damaged_here_is_not_published(memory, tmp_path):
    workspace = made(tmp_path / "a")
    path = tmp_path / "a/round-00/sample/shortfall-00001.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ArtefactError, match="damaged") as refused:
        push(workspace, memory)
    assert "shortfall-00001.parquet" in str(refused.value)
    assert memory.get(HEAD) is None


def test_a_folder_without_a_manifest_is_not_passed_over(memory, tmp_path):
    workspace = made(tmp_path / "a")
    (tmp_path / "a/round-00/train/manifest.json").unlink()
    with pytest.raises(ArtefactError, match="no result"):
        push(workspace, memory)
    with pytest.raises(ArtefactError, match="nothing in this workspace"):
        push(Workspace(tmp_path / "empty"), memory)
    with pytest.raises(ArtefactError, match="there is no workspace"):
        pull(Workspace(tmp_path / "b"), memory)


MANY = 60
"""Files of a result that is pushed and pulled under the eyes of a killer."""


def start(verb: str, place: Path, prefix: str, given) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", verb, f"s3://bucket/{prefix}", "--workspace", str(place)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **given.environment}, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def end(process: subprocess.Popen[str]) -> str:
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 0, said
    assert SECRET not in said
    return said


def kill_once(process: subprocess.Popen[str], reached) -> bool:
    """Kills a command as soon as `reached`. False where it has ended before."""
    while process.poll() is None and not reached():
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_killed_commands_leave_nothing_half_and_go_on(s3, tmp_path):  # noqa: F811
    workspace = Workspace(tmp_path / "a")
    files = {f"file-{i}": (lambda path, i=i: path.write_text(f"{i} " * 3000)) for i in range(MANY)}
    complete(workspace, "round-00/train", [Part(Shard("whole", 0), files=files)], identity("train"))
    killed = 0
    for number, count in enumerate((1, 20, 45)):
        place = s3.at(f"killed-{number}")
        killed += kill_once(start("push", tmp_path / "a", f"killed-{number}", s3), lambda: len(names(place)) >= count)  # noqa: B023
        assert place.get(HEAD) is None or visible(place) is not None
        said = end(start("push", tmp_path / "a", f"killed-{number}", s3))
        assert "1 results" in said
        assert visible(place) == remote._here(workspace)[0]
        there = tmp_path / f"b{number}"
        begun = there / ".building/round-00.train"
        process = start("pull", there, f"killed-{number}", s3)
        killed += kill_once(process, lambda: len(list(begun.glob("file-*"))) >= count)  # noqa: B023
        assert not (there / "round-00").exists() or faults(Workspace(there))[2] == []
        end(start("pull", there, f"killed-{number}", s3))
        assert content(there) == content(tmp_path / "a")
    assert killed >= 4


def test_no_secret_is_kept(s3, tmp_path):  # noqa: F811
    made(tmp_path / "a")
    end(start("push", tmp_path / "a", "secret", s3))
    end(start("pull", tmp_path / "b", "secret", s3))
    kept = [p.read_bytes() for root in ("a", "b") for p in (tmp_path / root).rglob("*") if p.is_file()]
    kept += [s3.at("secret").get(name)[0] for name in names(s3.at("secret"))]
    assert not any(SECRET.encode() in data for data in kept)


def test_a_command_says_what_is_wrong_and_ends_with_its_code(s3, tmp_path):  # noqa: F811
    process = start("pull", tmp_path / "a", "nothing-there", s3)
    said = process.communicate()[1]
    assert (process.returncode, "there is no workspace" in said) == (ArtefactError.exit_code, True)
    made(tmp_path / "b")
    given = type(s3)("http://127.0.0.1:9")
    process = start("push", tmp_path / "b", "x", given)
    said = process.communicate()[1]
    assert (process.returncode, "no answer from" in said) == (StorageError.exit_code, True)
    assert "Traceback" not in said
