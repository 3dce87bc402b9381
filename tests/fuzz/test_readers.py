"""Every reader of a data set, given valid files that were changed: a result that accounts for each row, or a message.

FUZZ_SECONDS is how long each reader is tried (CPU seconds, so that a busy machine tries as much), FUZZ_SEED where the changes begin; FUZZ_READERS names some of them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from stages import ingest
from stages.datasets import _emoji, _icd10cm_xml
from stages.errors import HardrockError
from stages.registry import names
from tests import support
from tests.fuzz.mutations import Files, mutate
from tests.fuzz.seeds import FILE, SEEDS
from tests.stages.data import config

SECONDS = float(os.environ.get("FUZZ_SECONDS") or 20)
SEED = int(os.environ.get("FUZZ_SEED") or 1)
READERS = os.environ.get("FUZZ_READERS", "").split() or sorted(SEEDS)
ROUND = 50

PACKAGES = ("icd10cm", "ir_datasets", "openmoji")
"""Readers of what packages bring: their fields have no path, and the package is a folder of ours."""

LEAVES = {"corpus": (), "queries": ("unjudged",), "qrels": ("repeated",)}


def try_once(reader: str, number: int, root: Path) -> str:
    """One changed data set through ingest. Returns how it ended; anything but a result or a message fails."""
    chance = Random(number)
    files, fields = chance.choice(SEEDS[reader])
    made = mutate(chance, files)
    policy = {
        "on_bad_row": chance.choice(["fail", "quarantine", "quarantine"]),
        "missing_judgements_allowed": chance.choice([0, 1000]),
    }
    shutil.rmtree(root, ignore_errors=True)
    folder = root / "set"
    folder.mkdir(parents=True)
    write(folder, made)
    place = dict(fields)
    if reader not in PACKAGES:
        place["path"] = str(folder / place.pop(FILE) if FILE in place else folder)
    (root / "scratch").mkdir()
    try:
        result = support.run(ingest, config({"name": reader, **place}, **policy), {}, root / "scratch")
    except HardrockError as error:
        check_message(str(error))
        return type(error).__name__
    check_rows(result)
    return "result"


def write(folder: Path, files: Files) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def check_message(message: str) -> None:
    assert {c for c in message if not c.isprintable()} <= {"\n"}, message
    assert len(message) < 20_000, message[:1000]


def check_rows(result: Any) -> None:
    """Rows in = rows out + rows rejected."""
    for table, leave in LEAVES.items():
        counts = {n: result.counters.get(f"{table}.{n}", 0) for n in ("read", "kept", "rejected", *leave)}
        if counts["read"]:
            assert counts["read"] == counts["kept"] + counts["rejected"] + sum(counts[n] for n in leave), (
                table,
                counts,
            )
        assert counts["rejected"] <= sum(r["table"] == table for r in result.rows("rejects")), table


class Records:
    """A data set of the package ir_datasets, whose records are JSON in a file."""

    def __init__(self, path: Path) -> None:
        self._tables = json.loads(path.read_bytes())

    def _rows(self, name: str) -> list[SimpleNamespace]:
        rows = self._tables.get(name) if isinstance(self._tables, dict) else None
        rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        return [SimpleNamespace(**dict.fromkeys(FIELDS[name]) | row) for row in rows]

    def __getattr__(self, name: str) -> Callable[[], Any]:
        if name.startswith("has_"):
            return lambda: bool(self._rows(name[4:]))
        return lambda: iter(self._rows(name.removesuffix("_iter")))


FIELDS = {"docs": ("doc_id", "text"), "queries": ("query_id", "text"), "qrels": ("query_id", "doc_id", "relevance")}


@pytest.fixture
def place(monkeypatch):
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        spec = ModuleSpec("package", None, is_package=True)
        spec.submodule_search_locations = [f"{folder}/set"]
        monkeypatch.setattr(_icd10cm_xml, "find_spec", lambda name: spec)
        monkeypatch.setattr(
            _emoji, "find_spec", lambda name: importlib.util.find_spec(name) if name == "emoji" else spec
        )

        def load(name: str) -> Records:
            try:
                return Records(Path(folder) / "set" / f"{name}.json")
            except (OSError, ValueError, RecursionError):
                raise KeyError(name) from None

        monkeypatch.setitem(sys.modules, "ir_datasets", SimpleNamespace(load=load, registry=()))
        yield Path(folder)


def test_no_reader_is_left_out():
    assert set(SEEDS) == set(names("datasets"))


def fuzz(reader: str, place: Path, first: int, examples: int) -> Counter[str]:
    ended: Counter[str] = Counter()

    @seed(first)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**64))
    def attempt(number: int) -> None:
        ended[try_once(reader, number, place)] += 1

    attempt()
    return ended


@pytest.mark.parametrize("reader", sorted(SEEDS))
def test_a_few_changes(place, reader):
    assert sum(fuzz(reader, place, 7, 15).values()) >= 1


@pytest.mark.fuzz
@pytest.mark.parametrize("reader", READERS)
def test_changes_for_a_time(place, reader):
    until, number, ended = time.process_time() + SECONDS, SEED, Counter[str]()
    while time.process_time() < until:
        ended += fuzz(reader, place, number, ROUND)
        number += 1
    assert ended.total() >= ROUND
    told = ", ".join(f"{count} {name}" for name, count in ended.most_common())
    print(f"\n{reader}: {sum(ended.values())} changed data sets in {SECONDS:.0f} CPU s: {told}")
