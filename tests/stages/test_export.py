from __future__ import annotations

import pytest

from stages import export
from stages.errors import ConfigError
from stages.export import TEXT_TARGETS, ExportConfig
from stages.exporters.st_ntuple import StNtuple
from stages.registry import names
from stages.settings import parse
from tests.export_world import contents, data, ids, lines, world
from tests.support import run, source

ROWS = [(0, 3, n) for n in range(7, 13)] + [(1, 4, n) for n in range(9, 12)]


def test_every_default_target_is_a_folder_with_the_same_negatives_for_the_same_query(tmp_path):
    result = run(export, ExportConfig(), world(ROWS), tmp_path)
    assert list(result.files) == ["exports/st_triplet", "exports/st_ntuple", "exports/flagembedding"]
    triplet, ntuple, flag = result.files.values()
    assert [(r["query_id"], r["positive_id"], r["negative_id"]) for r in ids(triplet)] == [
        (f"q{q}", f"d{p}", f"d{n}") for q, p, n in ROWS
    ]
    assert [(r["query_id"], r["negative_ids"]) for r in ids(ntuple)] == [("q0", [f"d{n}" for n in range(7, 12)])]
    assert [(r["query_id"], r["negative_ids"]) for r in ids(flag)] == [
        ("q0", [f"d{n}" for n in range(7, 13)]),
        ("q1", [f"d{n}" for n in range(9, 12)]),
    ]
    assert len(data(triplet)) == 9
    assert len(lines(flag)) == 2


def test_counters_facts_and_messages_say_what_was_left_out(tmp_path):
    result = run(export, ExportConfig(), world(ROWS), tmp_path)
    left_out = {
        "negatives_beyond_those_asked_for": 1,
        "negatives_of_pairs_with_too_few": 3,
        "pairs_with_too_few_negatives": 1,
    }
    assert result.facts == {
        "exports": {
            "st_triplet": {"rows": 9, "files": ["data/train-00000-of-00001.parquet"], "left_out": {}},
            "st_ntuple": {"rows": 1, "files": ["data/train-00000-of-00001.parquet"], "left_out": left_out},
            "flagembedding": {"rows": 2, "files": ["data/train.jsonl"], "left_out": {"repeated_negatives": 0}},
        }
    }
    assert result.counters == {
        "st_triplet.rows": 9,
        "st_ntuple.rows": 1,
        "flagembedding.rows": 2,
        **{f"st_ntuple.left_out.{reason}": count for reason, count in left_out.items()},
        "flagembedding.left_out.repeated_negatives": 0,
    }
    assert "st_ntuple: left out 1 pairs with too few negatives" in result.messages
    assert not any(message.startswith("flagembedding") for message in result.messages)


def test_any_sharding_of_the_triplets_gives_the_same_bytes(tmp_path):
    inputs = world(ROWS)
    whole = inputs["triplets"].read()
    one = run(export, ExportConfig(), inputs, tmp_path / "one")
    cut = {**inputs, "triplets": source(*(whole.slice(i, 2) for i in range(0, 9, 2)))}
    two = run(export, ExportConfig(), cut, tmp_path / "two")
    for name, folder in one.files.items():
        assert contents(folder) == contents(two.files[name])


def test_targets_come_from_tables_of_the_configuration(tmp_path):
    config = parse(ExportConfig, {"targets": {"st_ntuple": {"negatives": 3}}}, "export")
    assert config.targets == (StNtuple(negatives=3),)
    result = run(export, config, world(ROWS), tmp_path)
    assert [(r["query_id"], r["negative_ids"]) for r in ids(result.files["exports/st_ntuple"])] == [
        ("q0", ["d7", "d8", "d9"]),
        ("q1", ["d9", "d10", "d11"]),
    ]
    assert list(result.files) == ["exports/st_ntuple"]


def test_configuration_faults(tmp_path):
    with pytest.raises(ConfigError, match="targets"):
        run(export, ExportConfig(targets=()), world(ROWS), tmp_path)
    with pytest.raises(ConfigError, match="st_tripplet"):
        parse(ExportConfig, {"targets": {"st_tripplet": {}}}, "export")
    with pytest.raises(ConfigError, match="negativs"):
        parse(ExportConfig, {"targets": {"st_ntuple": {"negativs": 3}}}, "export")


def test_the_family_is_its_files():
    assert {"flagembedding", "st_ntuple", "st_triplet"} <= set(names("exporters"))
    assert ExportConfig().targets is None
    assert [target.name for target in TEXT_TARGETS] == ["st_triplet", "st_ntuple", "flagembedding"]
