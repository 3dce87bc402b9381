"""`hardrock export --to … --verify` on a real workspace."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from stages.errors import ConfigError
from tests.e2e.conftest import hardrock


@pytest.fixture
def copied(project: Path, tmp_path: Path) -> Path:
    for name in ("beir", "ws"):
        shutil.copytree(project / name, tmp_path / name)
    shutil.copy(project / "hardrock.toml", tmp_path)
    return tmp_path


def targets(folder: Path) -> dict[str, dict]:
    places = (folder / "ws/round-00/export/exports").iterdir()
    return {place.name: json.loads((place / "export.json").read_text("utf-8")) for place in places}


def test_several_targets_at_once_replace_those_of_the_configuration_and_are_verified(copied):
    given = ("st:ntuple", "flagembedding", "tevatron", "st-pair", "--to", "gritlm", "--to", "st_ntuple")
    done = hardrock("export", "--workspace", "ws", "--to", *given, "--verify", cwd=copied)
    found = targets(copied)
    assert set(found) == {"st_ntuple", "flagembedding", "tevatron", "st_pair", "gritlm"}
    assert found["st_ntuple"]["config"]["negatives"] == 2  # its table in the configuration goes on to count
    assert found["tevatron"]["triplets"] > found["tevatron"]["rows"] > 0
    said = done.stdout + done.stderr
    for name in found:
        assert f"{name}: " in said
    assert said.count(" rows equal, read by ") == 5
    assert said.count("not checked further: tevatron is not installed") == 1


def test_jobs_write_pieces_of_the_same_targets_and_a_call_without_joins_them(copied):
    """What is there stays until the new one is whole."""
    given = ("--workspace", "ws", "--set", "export.shard_triplets=100", "--to", "gritlm", "tevatron")
    hardrock(
        "export", "--workspace", "one", "--set", "export.shard_triplets=100", "--to", "gritlm", "tevatron", cwd=copied
    )
    for part in ("2/2", "1/2"):
        said = hardrock("export", "--shard", part, *given, cwd=copied).stderr
        assert "`hardrock export` finishes the stage" in said
        assert set(targets(copied)) == {"st_triplet", "st_ntuple", "flagembedding"}
    done = hardrock("export", *given, cwd=copied)
    assert "goes on:" in done.stderr
    ours, theirs = (
        {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
        for place in (copied / "ws/round-00/export/exports", copied / "one/round-00/export/exports")
    )
    assert ours == theirs
    for more in ("--verify", "--json"):
        assert (
            hardrock("export", "--shard", "1/2", more, *given, cwd=copied, check=False).returncode
            == ConfigError.exit_code
        )


def test_a_damaged_export_is_never_called_sound(copied):
    hardrock("export", "--workspace", "ws", "--to", "gritlm", cwd=copied)
    place = copied / "ws/round-00/export/exports/gritlm/data/train.jsonl"
    place.chmod(0o644)
    lines = place.read_bytes().split(b"\n")
    place.write_bytes(b"\n".join([lines[1], lines[0], *lines[2:]]))
    done = hardrock("export", "--workspace", "ws", "--to", "gritlm", "--verify", cwd=copied, check=False)
    mended = place.read_bytes().split(b"\n")[:2] == lines[:2]
    assert mended or done.returncode != 0
    assert mended == (" rows equal" in done.stdout + done.stderr)


@pytest.mark.parametrize(
    ("given", "suggestion"),
    [(("st:tripplet",), "st_triplet"), (("flagembeding",), "flagembedding"), (("st:pair", "tevatrom"), "tevatron")],
)
def test_an_unknown_target_is_refused_with_a_suggestion_and_nothing_is_written(project, given, suggestion):
    before = sorted((project / "ws/round-00/export/exports").iterdir())
    done = hardrock("export", "--workspace", "ws", "--to", *given, "--verify", cwd=project, check=False)
    assert done.returncode == ConfigError.exit_code
    assert suggestion in done.stderr
    assert given[-1].replace(":", "_") in done.stderr
    assert sorted((project / "ws/round-00/export/exports").iterdir()) == before
