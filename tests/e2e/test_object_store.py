"""From inputs in an object store to exports and a workspace in it: the bytes are those of a run on local files."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from pipeline.remote import pull, push
from pipeline.store import Workspace
from tests.e2e.conftest import hardrock
from tests.pipeline.test_remote import content, names
from tests.s3 import BUCKET, SECRET, s3, server  # noqa: F401

STAGES = ("ingest", *(f"round-00/{name}" for name in ("embed", "index", "mine", "judge", "sample", "export")))


def results(root: Path) -> dict[str, bytes]:
    """The files of the stages up to export, without those that hold times."""
    return {
        name: data for name, data in content(root).items()
        if name.startswith(tuple(f"{stage}/" for stage in STAGES)) and not name.endswith("run.json")
    }  # fmt: skip


@pytest.mark.slow
def test_from_inputs_in_a_store_to_exports_in_it(s3, project, tmp_path):  # noqa: F811
    text = (project / "hardrock.toml").read_text().replace('path = "beir"', 'path = "s3://bucket/in/beir"')
    (tmp_path / "hardrock.toml").write_text(text)
    place = s3.at("in/beir")
    for path in (p for p in (project / "beir").rglob("*") if p.is_file()):
        place.put(path.relative_to(project / "beir").as_posix(), path.read_bytes())
    # a console of such a store makes folders as empty objects whose names end with a slash
    urllib.request.urlopen(urllib.request.Request(f"{s3.url}/{BUCKET}/in/beir/qrels/", b"", method="PUT")).close()

    done = hardrock("export", "--workspace", "ws", "--out", "s3://bucket/out", "--verify", "--json", cwd=tmp_path)
    said = json.loads(done.stdout)
    assert all(one["ran"] for one in said["stages"])
    assert set(said["delivered"]) == set(said["verified"]) == {"st_triplet", "st_ntuple", "flagembedding"}
    assert "s3://bucket/in/beir: 5 of 5 objects to fetch" in done.stderr
    assert results(tmp_path / "ws") == results(project / "ws")
    assert "s3://" not in json.dumps(json.loads((tmp_path / "ws/ingest/manifest.json").read_bytes())["identity"])
    exported = project / "ws/round-00/export/exports"
    expected = {p.relative_to(exported).as_posix(): p.read_bytes() for p in exported.rglob("*") if p.is_file()}
    assert {name: s3.at("out").get(name)[0] for name in names(s3.at("out"))} == expected

    push(Workspace(tmp_path / "ws"), s3.at("ws"))
    pull(Workspace(tmp_path / "elsewhere"), s3.at("ws"))
    assert results(tmp_path / "elsewhere") == results(tmp_path / "ws")
    done = hardrock("export", "--workspace", "elsewhere", "--out", "s3://bucket/out", cwd=tmp_path)
    assert "all fresh" in done.stderr
    assert "is there already" in done.stderr
    assert not any(SECRET.encode() in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
