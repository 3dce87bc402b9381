"""Exports in a store: whole with their last file, never replaced, and the same export goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.delivery import deliver
from pipeline.objects import Objects
from pipeline.store import Workspace
from stages.errors import ArtefactError
from stages.spec import WHOLE, Part
from tests.pipeline.test_remote import Dying, Killed, memory, names  # noqa: F401
from tests.pipeline.test_store import complete, identity

NAME = "round-00/export"


def exported(root: Path, text: str = "a") -> Workspace:
    def write(path: Path) -> None:
        (path / "data").mkdir(parents=True)
        for number in range(3):
            (path / f"data/train-{number}").write_text(text * 100 + str(number))
        (path / "export.json").write_text(json.dumps({"files": text}))

    workspace = Workspace(root)
    files = {"exports/one": write, "exports/two": write}
    complete(workspace, NAME, [Part(WHOLE, files=files)], identity("export", text=text))
    return workspace


def held(place: Objects) -> dict[str, bytes]:
    return {name: place.get(name)[0] for name in names(place)}


def on_disk(workspace: Workspace) -> dict[str, bytes]:
    folder = workspace.final(NAME) / "exports"
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_targets_lie_there_under_their_names(memory, tmp_path):  # noqa: F811
    workspace = exported(tmp_path)
    assert set(deliver(workspace, NAME, memory)) == {"one", "two"}
    assert held(memory) == on_disk(workspace)
    assert set(deliver(workspace, NAME, memory).values()) == {"is there already"}


@pytest.mark.parametrize("after", [False, True])
def test_a_delivery_that_dies_goes_on_and_is_whole_only_with_its_last_file(memory, tmp_path, monkeypatch, after):  # noqa: F811
    monkeypatch.setattr("pipeline.progress.AT_ONCE", 1)
    workspace = exported(tmp_path)
    for at in range(100):
        store = Objects(memory.place, store=type(memory._store)())
        try:
            deliver(workspace, NAME, Dying(store, at, after))
            break
        except Killed:
            for target in ("one", "two"):
                there = {name for name in names(store) if name.startswith(target)}
                whole = {name for name in on_disk(workspace) if name.startswith(target)}
                assert f"{target}/export.json" not in there or there - {f"{target}/begun.json"} == whole
        deliver(workspace, NAME, store)
        assert held(store) == on_disk(workspace)
    assert at >= 14


def test_what_is_there_is_never_replaced(memory, tmp_path):  # noqa: F811
    first, second = exported(tmp_path / "a"), exported(tmp_path / "b", "b")
    deliver(first, NAME, memory)
    with pytest.raises(ArtefactError, match="nothing is replaced"):
        deliver(second, NAME, memory)
    assert held(memory) == on_disk(first)
    memory.remove("one/export.json")
    memory.put("one/notes.txt", b"of a person")
    with pytest.raises(ArtefactError, match="nothing is replaced") as refused:
        deliver(first, NAME, memory)
    assert "notes.txt" in str(refused.value)


def test_two_different_exports_do_not_begin_at_one_place(memory, tmp_path):  # noqa: F811
    first, second = exported(tmp_path / "a"), exported(tmp_path / "b", "b")
    with pytest.raises(Killed):
        deliver(first, NAME, Dying(memory, 4, False))
    with pytest.raises(ArtefactError, match="nothing is replaced") as refused:
        deliver(second, NAME, memory)
    assert "another export was begun" in str(refused.value)
    deliver(first, NAME, memory)
    assert held(memory) == on_disk(first)


def test_a_target_that_lost_a_file_is_told(memory, tmp_path):  # noqa: F811
    workspace = exported(tmp_path)
    deliver(workspace, NAME, memory)
    memory.remove("two/data/train-1")
    with pytest.raises(ArtefactError) as refused:
        deliver(workspace, NAME, memory)
    assert "two/data/train-1" in str(refused.value)
