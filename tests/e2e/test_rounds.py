"""Three rounds in one run, with a guard that training hurts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.conftest import CONFIG, KINDS, PARTS, WORDS, hardrock, write_beir
from tests.e2e.test_pipeline import table

GUARD = """
[guard]
depth = 100
[guard.collections.workshop]
dataset = { name = "beir", path = "workshop" }
[guard.collections.same]
split = "dev"
dataset = { name = "beir", path = "beir" }
"""


def write_workshop(folder: Path) -> Path:
    """Here a broken hand is no fracture: the words that training brings together mean different things."""
    (folder / "qrels").mkdir(parents=True)
    documents, queries, lines = [], [], ["query-id\tcorpus-id\tscore"]
    for k, kind in enumerate(KINDS):
        for p, part in enumerate(PARTS):
            documents.append(
                {"_id": f"d{k}{p}", "title": "", "text": f"the {part} was {WORDS[kind]} when it came out of the box"}
            )
            documents.append({"_id": f"n{k}{p}", "title": "", "text": f"{kind} of {part}, initial encounter"})
            queries.append({"_id": f"w{k}{p}", "text": f"{WORDS[kind]} {part} initial"})
            lines.append(f"w{k}{p}\td{k}{p}\t1")
    (folder / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    (folder / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def rounds(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rounds")
    write_beir(folder / "beir")
    write_workshop(folder / "workshop")
    (folder / "hardrock.toml").write_text("rounds = 3\n" + CONFIG + GUARD)
    hardrock("run", "--workspace", "ws", cwd=folder)
    return folder


def test_each_round_judges_samples_and_trains_on_its_own_search(rounds):
    workspace = rounds / "ws"
    weights = set()
    for number in range(3):
        here = workspace / f"round-{number:02d}"
        documents = np.array(table(here, "embed/corpus_vectors")["vector"].to_pylist(), dtype=np.float64)
        queries = np.array(table(here, "embed/query_vectors")["vector"].to_pylist(), dtype=np.float64)
        judged = [*table(here, "judge/judged").to_pylist(), *table(here, "deepen/deepened").to_pylist()]
        for row in judged:
            assert row["score"] == pytest.approx(queries[row["query_row"]] @ documents[row["doc_row"]], abs=1e-10)
        kept = {(r["query_row"], r["doc_row"]): r["score"] for r in judged if r["verdict"] == "kept"}
        triplets = table(here, "sample/triplets").to_pylist()
        assert {t["round"] for t in triplets} == {number}
        for row in triplets:
            assert row["negative_score"] == kept[row["query_row"], row["negative_row"]]
        weights.add(next((here / "train/checkpoint").rglob("model.safetensors")).read_bytes())
    assert len(weights) == 3
    assert not (workspace / "round-03/train").exists()
    assert (workspace / "round-03/evaluate/manifest.json").is_file()
    assert "all fresh" in hardrock("run", "--workspace", "ws", cwd=rounds).stderr


def sql(folder: Path, statement: str) -> list[dict]:
    said = hardrock("sql", "--workspace", "ws", "--json", statement, cwd=folder).stdout
    return [json.loads(line) for line in said.splitlines()]


def test_every_round_is_compared_with_the_first_and_the_one_before(rounds):
    found = sql(
        rounds, "SELECT DISTINCT round, collection, against_round FROM comparisons WHERE against_system = 'dense'"
    )
    expected = {(1, 0), (2, 0), (2, 1), (3, 0), (3, 2)}
    for name in (None, "workshop", "same"):
        assert {(r["round"], r["against_round"]) for r in found if r["collection"] == name} == expected


def test_a_guard_that_training_hurts_is_shown_as_a_loss(rounds):
    (row,) = sql(
        rounds,
        "SELECT * FROM comparisons WHERE collection = 'workshop' AND round = 3 AND against_round = 0 AND measure = 'MRR'",
    )
    assert row["high"] < 0
    own = sql(
        rounds,
        "SELECT * FROM comparisons WHERE collection IS NULL AND round = 3 AND against_round = 0 AND measure = 'nDCG' AND against_system = 'dense'",
    )
    assert own[0]["low"] > 0
    values = json.loads((rounds / "ws/report/metrics.json").read_text())
    assert values["round-03.guard.workshop.test.MRR@10.minus.round-00.dense"] == row["difference"]
    page = (rounds / "ws/report/index.html").read_text()
    assert 'data-guard="workshop"' in page
    assert f"{row['difference']:+.4f}" in page
    said = hardrock("rounds", "--workspace", "ws", cwd=rounds).stdout
    assert f"{row['difference']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})" in said


def test_a_guard_gives_what_evaluate_gives_on_the_same_queries(rounds):
    """The collection that is trained on is a guard too, by its split dev; and its leaks are counted."""
    hardrock("run", "--workspace", "ws", "--set", 'evaluate.splits=["dev"]', cwd=rounds)
    pairs = sql(
        rounds,
        """
        SELECT m.round, q.query_id, m.measure, m.value, g.value AS guarded FROM metrics m JOIN queries q ON q.row = m.query_row
        JOIN guard_queries w ON w.query_id = q.query_id AND w.round = m.round AND w.collection = 'same'
        JOIN metrics g ON g.collection = 'same' AND g.query_row = w.row AND g.measure = m.measure AND g.round = m.round
        WHERE m.collection IS NULL AND m.system = 'dense'""",
    )
    assert len(pairs) == 4 * 4 * 36
    assert all(p["value"] == p["guarded"] for p in pairs)
    facts = json.loads((rounds / "ws/round-00/guard/manifest.json").read_text())["facts"]
    assert (facts["same"]["leaked.queries"], facts["same"]["leaked.documents"]) == (0, 600)
    assert facts["workshop"]["leaked.pairs"] == 0


def test_churn_is_in_the_catalog_and_on_the_page(rounds):
    found = sql(rounds, "FROM churn")
    sets = [
        {
            (t["query_row"], t["positive_row"], t["negative_row"])
            for t in table(rounds / "ws", f"round-0{n}/sample/triplets").to_pylist()
        }
        for n in range(3)
    ]
    assert [(r["round"], r["shared"]) for r in found] == [(n, len(sets[n] & sets[n - 1])) for n in (1, 2)]
    values = json.loads((rounds / "ws/report/metrics.json").read_text())
    for row in found:
        assert 0 < row["new"] < 1
        assert values[f"round-0{row['round']}.churn.new"] == pytest.approx(row["new"])
        assert values[f"round-0{row['round']}.churn.jaccard"] == pytest.approx(row["jaccard"])


def test_one_training_over_the_rounds_carries_its_state(rounds, tmp_path):
    workspace = tmp_path / "ws"
    given = ("run", "--workspace", str(workspace), "--rounds", "2", "--set", "train.schedule_rounds=2")
    hardrock(*given, cwd=rounds)
    first, second = (table(workspace, f"round-0{n}/train/training_log").to_pylist() for n in (0, 1))
    assert second[0]["step"] > first[-1]["step"]
    assert first[-1]["learning_rate"] > second[-1]["learning_rate"] == 0
    assert (workspace / "round-00/train/training_state").is_dir()
    assert not (workspace / "round-01/train/training_state").exists()
    assert "all fresh" in hardrock(*given, cwd=rounds).stderr


def test_a_guard_that_is_malformed_stops_with_its_name_and_place(rounds, tmp_path):
    broken = write_workshop(tmp_path / "broken")
    with (broken / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "x", "text": \n')
    setting = f'guard.collections.broken.dataset={{name="beir", path="{broken}"}}'
    done = hardrock("guard", "--workspace", "ws", "--set", setting, cwd=rounds, check=False)
    assert done.returncode == 3
    assert "the guard 'broken' cannot be measured" in done.stderr
    assert "corpus.jsonl line 121" in done.stderr
    gone = hardrock(
        "status", "--workspace", "ws", "--set", setting.replace('broken"}', 'gone"}'), cwd=rounds, check=False
    )
    assert gone.returncode == 3
    assert "the guard 'broken' cannot be measured" in gone.stderr
