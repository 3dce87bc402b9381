"""The pages for contributors: the whole members that they show are put into their families, and work there as they are."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stages import registry
from stages.errors import ArtefactError, InputError
from stages.exporters._verify import check
from stages.registry import build
from tests.export_world import lines, world
from tests.roundtrip.test_damage import DAMAGE, described, put, read
from tests.roundtrip.test_every_exporter import ROWS, texts_of
from tests.stages.data import jsonl
from tests.stages.datasets.reading import ingested, judged
from tests.stages.test_families import MOST

ROOT = Path(__file__).parents[1]
PAGES = {"datasets": "docs/contributing-a-dataset.md", "exporters": "docs/contributing-an-exporter.md"}


def shown(family: str) -> str:
    """The member that the family's page shows."""
    found = re.findall(r"^```python\n(.*?)^```", (ROOT / PAGES[family]).read_text("utf-8"), re.S | re.M)
    assert len(found) == 1
    return found[0]


@pytest.fixture
def member(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of the page's member in its family, as if it stood in its folder."""
    family = request.param
    (tmp_path / "family").mkdir()
    (tmp_path / "family/cohere.py").write_text(shown(family), "utf-8")
    package = importlib.import_module(f"stages.{family}")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / "family")])
    registry._names.cache_clear()
    yield importlib.import_module(f"stages.{family}.cohere")
    sys.modules.pop(f"stages.{family}.cohere")
    registry._names.cache_clear()


@pytest.mark.parametrize("family", PAGES)
def test_a_shown_member_keeps_the_style_and_is_short(tmp_path: Path, family: str) -> None:
    assert len(shown(family).splitlines()) <= MOST
    place = tmp_path / "cohere.py"
    place.write_text(shown(family), "utf-8")
    for check_of_style in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *check_of_style, "--config", str(ROOT / "pyproject.toml"), str(place)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("member", ["datasets"], indirect=True)
def test_the_reader_of_the_page_reads_recognises_and_refuses(member: ModuleType, tmp_path: Path) -> None:
    rows = [
        {"query": "bread", "relevant_passages": ["wheat", "rye"], "hard_negatives": ["stone"]},
        {"query": "soup", "relevant_passages": "stock", "hard_negatives": []},
    ]
    (tmp_path / "a.jsonl").write_bytes(jsonl(*rows))
    assert judged(ingested("cohere", tmp_path / "a.jsonl", tmp_path)) == {
        ("bread", "wheat", 1), ("bread", "rye", 1), ("bread", "stone", 0), ("soup", "stock", 1),
    }  # fmt: skip
    assert member.recognise(str(tmp_path / "a.jsonl")).fields == {"path": str(tmp_path / "a.jsonl")}
    (tmp_path / "b.jsonl").write_bytes(jsonl({"query": "bread", "positives": ["wheat"]}))
    assert member.recognise(str(tmp_path / "b.jsonl")) is None
    assert member.recognise(str(tmp_path / "none")) is None
    (tmp_path / "a.jsonl").write_bytes(jsonl(rows[0], {**rows[1], "relevant_passages": []}))
    with pytest.raises(InputError, match=r"a\.jsonl line 2, column 'relevant_passages'"):
        ingested("cohere", tmp_path / "a.jsonl", tmp_path)


@pytest.mark.parametrize("member", ["exporters"], indirect=True)
def test_the_exporter_of_the_page_is_verified_and_finds_each_damage(member: ModuleType, tmp_path: Path) -> None:
    inputs = world(ROWS)
    target: Any = build("exporters", "cohere", {})
    target.write(inputs["triplets"], texts_of(inputs), tmp_path / "x")
    assert f"{len(lines(tmp_path / 'x'))} rows equal" in check(
        target, inputs["triplets"], texts_of(inputs), tmp_path / "x"
    )
    assert json.loads((tmp_path / "x/export.json").read_text("utf-8"))["checked_with"] == member.CHECKED
    sound = read(tmp_path / "x/data/train.jsonl")
    for damage in DAMAGE.values():
        put(tmp_path / "x/data/train.jsonl", damage(sound))
        described(tmp_path / "x")
        with pytest.raises(ArtefactError):
            check(target, inputs["triplets"], texts_of(inputs), tmp_path / "x")
