"""`hardrock calibrate` and `hardrock what-if` on a real workspace."""

import json
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from tests.e2e.conftest import hardrock


@pytest.fixture
def copied(project, tmp_path) -> Path:
    """The project in a folder of the test's own."""
    folder = tmp_path / "project"
    shutil.copytree(project, folder, symlinks=True)
    return folder


def content(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def what_if(folder: Path, *arguments: str) -> dict:
    return json.loads(hardrock("what-if", "--workspace", "ws", "--json", *arguments, cwd=folder).stdout)


def test_what_if_without_a_change_is_the_stored_result(project):
    before = content(project)
    found = what_if(project)
    assert found["stored"] == found["what_if"]
    assert found["stored"]["leak"]["hidden_positive"]["hidden"] > 0
    assert content(project) == before


def test_what_if_is_what_a_run_makes(copied):
    changes = ("--set", "judge.filters.relative_margin.margin=0.2", "--set", "sample.negatives=2")
    before = content(copied)
    tried = what_if(copied, *changes)
    assert content(copied) == before
    assert tried["what_if"]["negatives_jaccard"] < 1
    assert tried["what_if"]["verdicts"]["kept"] < tried["stored"]["verdicts"]["kept"]
    hardrock("sample", "--workspace", "ws", *changes, cwd=copied)
    made = what_if(copied, *changes)["stored"]
    assert {**made, "negatives_jaccard": None} == {**tried["what_if"], "negatives_jaccard": None}


def test_what_if_refuses_what_needs_a_new_search(project):
    done = hardrock("what-if", "--workspace", "ws", "--set", "mine.depth=10", cwd=project, check=False)
    assert done.returncode == 2
    assert "mine.depth=10" in done.stderr


def test_calibrate_writes_its_key_alone(copied):
    text = (copied / "hardrock.toml").read_text()
    given = ("calibrate", "relative_margin", "--workspace", "ws", "--leak", "0.3", "--by", "rate")
    found = json.loads(hardrock(*given, "--json", cwd=copied).stdout)
    assert (copied / "hardrock.toml").read_text() == text
    assert found["key"] == "judge.filters.relative_margin.margin"
    best = next(p for p in found["points"] if p["threshold"] == found["threshold"])
    assert best["rate"] <= 0.3
    assert all(p["unjudged_dropped"] >= best["unjudged_dropped"] for p in found["points"] if p["rate"] <= 0.3)
    hardrock(*given, "--write", cwd=copied)
    assert (copied / "hardrock.toml").read_text() == text.replace("margin = 0.05", f"margin = {found['threshold']}")
    tried = what_if(copied)["what_if"]
    assert tried["leak"]["hidden_positive"]["rate"] == best["rate"]


def test_calibrate_says_when_no_threshold_will_do(project):
    done = hardrock("calibrate", "rank_window.max", "--workspace", "ws", "--leak", "0.0001", cwd=project, check=False)
    assert done.returncode == 4
    assert "no threshold of rank_window.max" in done.stderr
    done = hardrock("calibrate", "--workspace", "ws", "--estimator", "hierarchy", cwd=project, check=False)
    assert done.returncode in (2, 4)
