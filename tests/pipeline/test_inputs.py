"""Inputs in an object store: the copy is what the store has, and the result that of the same files on a disk."""

from __future__ import annotations

import pytest

from pipeline import config, inputs
from pipeline.inputs import Origin, bring
from pipeline.lock import reading
from pipeline.objects import ChangedError, Objects
from stages.errors import ConfigError, InputError, LockedError
from tests.e2e.conftest import CONFIG


@pytest.fixture
def objects() -> Objects:
    obstore = pytest.importorskip("obstore")
    return Objects(inputs.Place.of("s3://bucket/data"), store=obstore.store.MemoryStore())


@pytest.fixture(autouse=True)
def another_process():
    """What an earlier test has read counts as read by a process that is gone."""
    yield
    for stack in inputs._brought.values():
        stack.close()
    inputs._brought.clear()


def again(origin: Origin, objects: Objects) -> None:
    """As in a new process."""
    if origin in inputs._brought:
        inputs._brought.pop(origin).close()
    bring(origin, objects)


def held(origin: Origin) -> dict[str, bytes]:
    return {p.relative_to(origin.copy).as_posix(): p.read_bytes() for p in origin.copy.rglob("*") if p.is_file()}


def counted(objects: Objects, monkeypatch) -> list[str]:
    read, asked = Objects.read, []
    monkeypatch.setattr(Objects, "read", lambda self, name, tag=None: asked.append(name) or read(self, name, tag))
    return asked


def test_the_copy_follows_the_store_and_fetches_only_what_changed(objects, tmp_path, monkeypatch):
    origin = Origin.of("s3://bucket/data", tmp_path)
    objects.put("corpus.jsonl", b"1")
    objects.put("qrels/train.tsv", b"2")
    objects.put("qrels/", b"")  # stands for a folder
    fetched = counted(objects, monkeypatch)
    bring(origin, objects)
    assert held(origin) == {"corpus.jsonl": b"1", "qrels/train.tsv": b"2"}
    assert sorted(fetched) == ["corpus.jsonl", "qrels/train.tsv"]
    again(origin, objects)
    assert len(fetched) == 2
    objects.put("corpus.jsonl", b"3")
    objects.remove("qrels/train.tsv")
    objects.remove("qrels/")
    objects.put("queries.jsonl", b"4")
    again(origin, objects)
    assert held(origin) == {"corpus.jsonl": b"3", "queries.jsonl": b"4"}
    assert fetched[2:] == ["corpus.jsonl", "queries.jsonl"]


def test_a_copy_that_was_changed_is_made_again(objects, tmp_path, monkeypatch):
    origin = Origin.of("s3://bucket/data", tmp_path)
    objects.put("corpus.jsonl", b"whole")
    bring(origin, objects)
    (origin.copy / "corpus.jsonl").write_bytes(b"whale")
    (origin.copy / "more.jsonl").write_bytes(b"not there")
    again(origin, objects)
    assert held(origin) == {"corpus.jsonl": b"whole"}
    origin.state.write_text("{}")
    again(origin, objects)
    assert held(origin) == {"corpus.jsonl": b"whole"}


def test_a_place_can_be_one_object(objects, tmp_path):
    objects.put("pairs.csv", b"a,b\n")
    one = Origin.of("s3://bucket/data/pairs.csv", tmp_path)
    bring(one, Objects(inputs.Place.of(one.url), store=objects._store))
    assert one.copy.read_bytes() == b"a,b\n"
    assert one.copy.name == "pairs.csv"


def test_names_that_are_no_paths_are_refused(objects, tmp_path):
    origin = Origin.of("s3://bucket/data", tmp_path)
    with pytest.raises(InputError, match="there are no objects"):
        bring(origin, objects)
    objects.put("a-b", b"1")
    objects.put("a", b"1")
    objects.put("a/b", b"2")
    with pytest.raises(InputError, match="others below its name"):
        bring(origin, objects)


def test_a_name_that_leads_elsewhere_is_refused(objects, tmp_path, monkeypatch):
    origin = Origin.of("s3://bucket/data", tmp_path)
    for name in ("../../evil", "a//b", "a/./b"):
        monkeypatch.setattr(Objects, "listed", lambda self, below="", name=name: iter([inputs.Found(name, 1, "x")]))
        with pytest.raises(InputError, match="cannot be a path"):
            bring(origin, objects)


def test_an_object_that_changes_while_it_is_fetched_is_told(objects, tmp_path, monkeypatch):
    origin = Origin.of("s3://bucket/data", tmp_path)
    objects.put("corpus.jsonl", b"1")
    found = list(objects.listed())
    objects.put("corpus.jsonl", b"2")
    monkeypatch.setattr(Objects, "listed", lambda self, below="": iter(found))
    with pytest.raises(ChangedError):
        bring(origin, objects)
    assert held(origin) == {}


def test_a_copy_that_another_process_reads_is_not_replaced(objects, tmp_path):
    origin = Origin.of("s3://bucket/data", tmp_path)
    objects.put("corpus.jsonl", b"1")
    bring(origin, objects)
    with reading(origin.state.with_suffix(".lock")):
        again(origin, objects)  # nothing to replace
        objects.put("corpus.jsonl", b"2")
        with pytest.raises(LockedError, match="another process reads"):
            again(origin, objects)
        assert held(origin) == {"corpus.jsonl": b"1"}


def test_every_path_of_a_configuration_can_lie_in_a_store(tmp_path):
    path = tmp_path / "hardrock.toml"
    path.write_text(CONFIG.replace('path = "beir"', 'path = "s3://bucket/some/beir"'))
    found = config.load(path, workspace=tmp_path / "ws")
    assert found.stages["ingest"].dataset.path == str(tmp_path / "ws/.inputs/bucket/some/beir")
    assert [one.url for one in found.origins["ingest"]] == ["s3://bucket/some/beir"]
    assert found.origins["mine"] == ()
    with pytest.raises(ConfigError, match="needs a workspace"):
        config.load(path)
    with pytest.raises(ConfigError, match="not a place"):
        config.load(path, ['ingest.dataset.path="s3://"'], workspace=tmp_path / "ws")
