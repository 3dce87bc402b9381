"""`hardrock init` and `hardrock check`: what is guessed, and what is found before anything is computed."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pipeline import preflight
from pipeline.config import load
from pipeline.initial import configuration, mapping, recognise
from stages.errors import ConfigError, InputError
from tests.pipeline.test_cli import ROOT, hardrock
from tests.stages.data import FIXTURES, beir, jsonl
from tests.stages.datasets.test_repositories import TREC


def written(source: str, target: Path, **more: Any) -> dict[str, Any]:
    text = configuration(recognise(source, **more), source, target, "package:cognition/model")
    target.write_text(text, "utf-8")
    load(target)
    return tomllib.loads(text)


def test_the_stages_are_those_of_the_default(tmp_path: Path) -> None:
    ours = written(str(FIXTURES / "kitchen"), tmp_path / "h.toml")
    default = tomllib.loads((ROOT / "configs/default.toml").read_text("utf-8"))
    assert ours["ingest"]["dataset"] == {"name": "beir", "path": str(FIXTURES / "kitchen")}
    for stage in default.keys() - {"encoder", "ingest"}:
        assert ours[stage] == default[stage], stage


def test_a_trec_collection_gets_the_filter_of_spam(tmp_path: Path) -> None:
    for name, content in TREC.items():
        (tmp_path / name).write_bytes(content)
    given = written(str(tmp_path), tmp_path / "hardrock.toml")
    assert given["ingest"]["dataset"]["name"] == "trec"
    assert list(given["judge"]["filters"]) == ["known_positive", "same_text", "negative_relevance", "relative_margin"]


def test_odd_names_and_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    odd = Path('we"ird\\ [1]\nrounds = 7')
    beir(odd)
    (tmp_path / "inner").mkdir()
    found = written(str(odd), tmp_path / "inner/h.toml")
    assert found["ingest"]["dataset"]["path"] == f"../{odd}"
    assert found["rounds"] == 1


def test_columns_are_mapped(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y,z,w\na,b,c,d\n")
    with_names = recognise(str(tmp_path / "a.csv"), columns=mapping("anchor=x,positive=y,negative=z,negative=w"))
    assert (with_names.name, with_names.unsure) == ("pairs", ())
    assert with_names.fields == {
        "path": str(tmp_path / "a.csv"),
        "anchor": "x",
        "positive": "y",
        "negatives": ["z", "w"],
    }
    assert "no column is known" in recognise(str(tmp_path / "a.csv")).unsure[0]
    for wrong in ("x", "anker=x", "anchor="):
        with pytest.raises(ConfigError, match="maps nothing"):
            mapping(wrong)


def test_what_no_format_reads(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\0")
    with pytest.raises(InputError, match="no format reads this"):
        recognise(str(tmp_path / "a.bin"))
    with pytest.raises(ConfigError, match="did you mean 'beir'"):
        recognise(str(tmp_path), "bier")
    assert recognise("owner/name").name == "huggingface"
    assert recognise("mteb/scifact").name == "mteb"
    assert recognise("icd10cm").name == "icd10cm"


def test_init_leaves_what_is_there(tmp_path: Path) -> None:
    done = hardrock("init", "--from", str(FIXTURES / "kitchen.csv"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "format: pairs" in done.stdout
    before = (tmp_path / "hardrock.toml").read_bytes()
    again = hardrock("init", "--from", str(FIXTURES / "kitchen"), cwd=tmp_path)
    assert again.returncode == 2
    assert (tmp_path / "hardrock.toml").read_bytes() == before
    said = json.loads(
        hardrock("init", "--from", str(FIXTURES / "kitchen"), "--to", "b.toml", "--json", cwd=tmp_path).stdout
    )
    assert (said["format"], said["wrote"]) == ("beir", "b.toml")


def checked(folder: Path, tmp_path: Path, *lines: str) -> dict[str, preflight.Finding]:
    target = tmp_path / "h.toml"
    written(str(folder), target, name="beir")
    loaded = load(target, lines)
    data = preflight.read(loaded.stages["ingest"])  # type: ignore[arg-type]
    return {one.what: one for one in preflight.findings(data, loaded)}


BOTH = {"train": b"query-id\tcorpus-id\tscore\nq1\td1\t1\n", "test": b"query-id\tcorpus-id\tscore\nq2\td2\t1\n"}


def test_leaks(tmp_path: Path) -> None:
    queries = jsonl({"_id": "q1", "text": "Same  query"}, {"_id": "q2", "text": "same query"})
    corpus = jsonl({"_id": "d1", "text": "one text"}, {"_id": "d2", "text": "ONE text"})
    found = checked(beir(tmp_path / "set", corpus, queries, **BOTH), tmp_path)
    assert (found["leak.queries"].level, found["leak.queries"].examples) == ("error", ("q2",))
    assert (found["leak.positives"].level, found["leak.positives"].examples) == ("warning", ("q2",))
    assert checked(beir(tmp_path / "sound", **BOTH), tmp_path) == {}


def test_every_fault_is_counted_at_once(tmp_path: Path) -> None:
    corpus = jsonl(
        {"_id": "d1", "text": "a"}, {"_id": "d1", "text": "b"}, {"_id": "d2", "text": " "}, {"_id": "d3", "text": "c"}
    )
    qrels = {"train": BOTH["train"] + b"q1\td9\t1\nq1\td3\tx\n"}
    found = checked(beir(tmp_path / "set", corpus, **qrels), tmp_path)
    assert (found["corpus.rejected"].level, found["corpus.rejected"].count) == ("error", 2)
    assert "line 2" in found["corpus.rejected"].examples[0]
    assert (found["qrels.missing"].count, found["qrels.rejected"].count) == (1, 1)
    assert found["splits.test"].level == "error"
    lenient = checked(
        tmp_path / "set", tmp_path, 'ingest.on_bad_row="quarantine"', "ingest.missing_judgements_allowed=1"
    )
    assert {one for one in lenient if lenient[one].level == "error"} == {"splits.test"}


def test_check_says_it_as_json_and_by_its_exit_code(tmp_path: Path) -> None:
    written(str(FIXTURES / "kitchen"), tmp_path / "hardrock.toml")
    done = hardrock("check", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["ok"]
    assert said["counters"]["corpus.kept"] == 14
    assert said["estimate"]["disk"] > 0
    assert min(said["estimate"]["seconds"].values()) >= 0
    assert not (tmp_path / "data").exists()
    beir(tmp_path / "bad", b"{\n", **BOTH)
    written(str(tmp_path / "bad"), tmp_path / "bad.toml", name="beir")
    done = hardrock("check", "--no-probe", "--config", "bad.toml", cwd=tmp_path)
    assert done.returncode == 3
    assert "error" in done.stdout
