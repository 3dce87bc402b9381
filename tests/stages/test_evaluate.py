from __future__ import annotations

import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stages import evaluate
from stages.arrays import matrix, vector_table
from stages.errors import ConfigError, InputError, YieldError
from stages.evaluate import EvaluateConfig
from stages.retrievers.bm25 import Bm25
from stages.search import check_depth
from stages.settings import parse
from tests.support import File, Result, run, source, table

WORDS = ["renal", "failure", "newborn", "uremia", "hearing", "loss", "left", "right", "acute", "chronic"]
DOCS, QUERIES, D = 60, 24, 8
pytestmark = pytest.mark.usefixtures("exact_search")
CONFIG = EvaluateConfig(depth=40, recall_cutoffs=(20,), bootstrap=200, randomisations=400)


@pytest.fixture
def exact_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search in float64 by numpy in place of FAISS: the oracle of these tests."""
    module = ModuleType("stages.search")

    def open_corpus(vectors: Any, index: Any) -> Any:
        corpus = matrix(vectors.read())
        assert corpus.shape == (DOCS, D)

        def search(queries: np.ndarray, depth: int) -> Any:
            assert queries.dtype == corpus.dtype == np.float32
            rows, scores = ranking(queries, corpus, depth)
            return SimpleNamespace(rows=rows, scores=scores, counts={"deepened": 2})

        return SimpleNamespace(search=search)

    found: dict[str, Any] = {
        "check_depth": check_depth,
        "gather": lambda vectors, wanted: (matrix(vectors.read())[rows] for rows in wanted),
        "open_corpus": open_corpus,
    }
    vars(module).update(found)
    monkeypatch.setitem(sys.modules, "stages.search", module)


def ranking(queries: np.ndarray, corpus: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    scores = queries.astype(np.float64) @ corpus.astype(np.float64).T
    rows = np.stack([np.lexsort((np.arange(len(corpus)), -s))[:depth] for s in scores]).astype(np.int32)
    return rows, np.take_along_axis(scores, rows, axis=1)


def data(seed: int = 0) -> dict[str, Any]:
    """Documents and queries of few words; vectors on a coarse grid, so that scores tie often; graded relevance."""
    generator = np.random.default_rng(seed)

    def texts(count: int) -> list[str]:
        return [" ".join(generator.choice(WORDS, size=3)) for _ in range(count)]

    corpus = [
        {"row": i, "doc_id": f"D {i}", "title": "acute" if i % 3 == 0 else None, "text": t, "text_hash": i}
        for i, t in enumerate(texts(DOCS))
    ]
    splits = ["test", "train", "dev"]
    queries = [
        {"row": i, "query_id": f"q{i}", "text": t, "split": splits[i % 3], "source": "given", "text_hash": i}
        for i, t in enumerate(texts(QUERIES))
    ]
    qrels = [
        {"query_row": q, "doc_row": int(d), "relevance": int(r), "split": queries[q]["split"], "source": "given"}
        for q in range(QUERIES)
        for d, r in zip(
            sorted(generator.choice(DOCS, 4, replace=False)), generator.choice([-1, 0, 1, 2, 3], 4), strict=True
        )
        if q != 3
    ]
    return {
        "corpus": source(table("corpus", corpus)),
        "queries": source(table("queries", queries)),
        "qrels": source(table("qrels", qrels)),
        "corpus_vectors": source(vector_table(np.arange(DOCS), generator.integers(-1, 2, (DOCS, D)))),
        "query_vectors": source(
            *(vector_table(np.arange(a, a + 8), generator.integers(-1, 2, (8, D))) for a in range(0, QUERIES, 8))
        ),
        "corpus.faiss": File(Path("/nowhere"), facts={"kind": {"name": "flat"}}),
    }


def gains_of(inputs: dict[str, Any], split: str) -> dict[int, dict[int, int]]:
    found: dict[int, dict[int, int]] = {}
    for row in inputs["qrels"].read().to_pylist():
        if row["split"] == split and row["relevance"] > 0:
            found.setdefault(row["query_row"], {})[row["doc_row"]] = row["relevance"]
    return found


def expected_ndcg(rows: np.ndarray, gains: dict[int, int]) -> float:
    ideal = sum(g / math.log2(i + 2) for i, g in enumerate(sorted(gains.values(), reverse=True)[:10]))
    return sum(gains.get(int(d), 0) / math.log2(i + 2) for i, d in enumerate(rows[:10])) / ideal


def values(result: Result, **where: Any) -> dict[int | None, float]:
    return {r["query_row"]: r["value"] for r in result.rows("metrics") if all(r[k] == v for k, v in where.items())}


def test_every_query_gets_its_own_value_and_the_mean_is_over_those_with_positives(tmp_path: Path) -> None:
    inputs = data()
    result = run(evaluate, CONFIG, inputs, tmp_path)
    gains = gains_of(inputs, "test")
    vectors = np.concatenate([np.stack(t.column("vector").to_pylist()) for t in inputs["query_vectors"].tables])
    corpus = np.stack(inputs["corpus_vectors"].read().column("vector").to_pylist())
    rows, _ = ranking(vectors, corpus, 40)
    expected = {q: expected_ndcg(rows[q], g) for q, g in gains.items()}
    found = values(result, system="dense", measure="nDCG")
    assert found.pop(None) == pytest.approx(np.mean(list(expected.values())))
    assert found == pytest.approx(expected)
    first = {q: next((i for i, d in enumerate(rows[q][:10], 1) if d in g), None) for q, g in gains.items()}
    found = values(result, system="dense", measure="MRR")
    assert found.pop(None) == pytest.approx(np.mean([1 / r if r else 0 for r in first.values()]))
    assert found == pytest.approx({q: 1 / r if r else 0.0 for q, r in first.items()})
    without = [q for q in range(0, QUERIES, 3) if q not in gains]
    assert 3 in range(0, QUERIES, 3)
    assert without[0] == 3
    assert result.counters["test.without_positive"] == len(without)
    assert result.counters["test.queries"] == len(gains)
    assert result.facts["without_positive"] == {"test": [f"q{q}" for q in without]}
    assert result.counters["dense.deepened"] == 2


def test_hits_are_the_search_s_own_rows_and_scores(tmp_path: Path) -> None:
    inputs = data()
    result = run(evaluate, CONFIG, inputs, tmp_path)
    hits = result.rows("hits")
    assert [(h["system"], h["query_row"], h["rank"]) for h in hits] == sorted(
        (h["system"], h["query_row"], h["rank"]) for h in hits
    )
    texts = [
        f"{t} {x}" if t else x
        for t, x in zip(*inputs["corpus"].read(["title", "text"]).to_pydict().values(), strict=True)
    ]
    queries = inputs["queries"].read(["text"]).column("text").to_pylist()
    rows, scores = Bm25().build(texts).search(queries, 40)
    vectors = np.concatenate([np.stack(t.column("vector").to_pylist()) for t in inputs["query_vectors"].tables])
    dense = ranking(vectors, np.stack(inputs["corpus_vectors"].read().column("vector").to_pylist()), 40)
    for system, (r, s) in {"bm25": (rows, scores), "dense": dense}.items():
        for q in gains_of(inputs, "test"):
            got = [(h["doc_row"], h["score"]) for h in hits if h["system"] == system and h["query_row"] == q]
            assert got == [(d, x) for d, x in zip(r[q].tolist(), s[q].tolist(), strict=True) if d >= 0]


def test_runs_name_split_and_system_and_escape_ids(tmp_path: Path) -> None:
    inputs = data()
    result = run(evaluate, EvaluateConfig(**{**dict(CONFIG), "splits": ("dev", "test")}), inputs, tmp_path)
    folder = result.files["runs"]
    assert sorted(p.name for p in folder.iterdir()) == [
        f"{s}.{x}.trec" for s in ("bm25", "dense") for x in ("dev", "test")
    ]
    lines = [line.split() for line in (folder / "dense.dev.trec").read_text().splitlines()]
    assert {line[0] for line in lines} == {f"q{q}" for q in gains_of(inputs, "dev")}
    hits = {(h["query_row"], h["rank"]): h["doc_row"] for h in result.rows("hits") if h["system"] == "dense"}
    for query, q0, doc, rank, _, tag in lines:
        assert (q0, tag) == ("Q0", "dense-00")
        assert doc == f"D%20{hits[int(query[1:]), int(rank)]}"
    assert result.counters["ids.escaped"] == DOCS


def test_round_zero_is_compared_with_bm25_by_query(tmp_path: Path) -> None:
    result = run(evaluate, CONFIG, data(), tmp_path)
    rows = result.rows("comparisons")
    assert {(r["against_round"], r["against_system"]) for r in rows} == {(0, "bm25")}
    assert [(r["measure"], r["cutoff"]) for r in rows] == [("nDCG", 10), ("MRR", 10), ("Recall", 20), ("MAP", None)]
    for row in rows:
        here = values(result, system="dense", measure=row["measure"])
        there = values(result, system="bm25", measure=row["measure"])
        assert row["difference"] == pytest.approx(here[None] - there[None])
        assert row["low"] <= row["difference"] <= row["high"]
        assert row["queries"] == len(here) - 1


def test_later_rounds_are_compared_with_the_first_the_one_before_and_bm25(tmp_path: Path) -> None:
    results = []
    for round in range(3):
        inputs = data()
        inputs["query_vectors"] = data(seed=round)["query_vectors"]
        if round:
            inputs["first_metrics"] = results[0].inputs()["metrics"]
            inputs["previous_metrics"] = results[-1].inputs()["metrics"]
        results.append(run(evaluate, CONFIG, inputs, tmp_path / str(round), round=round))
    pairs = [
        list(dict.fromkeys((r["against_round"], r["against_system"]) for r in x.rows("comparisons"))) for x in results
    ]
    assert pairs == [[(0, "bm25")], [(0, "dense"), (0, "bm25")], [(0, "dense"), (1, "dense"), (0, "bm25")]]
    assert {r["system"] for r in results[2].rows("metrics")} == {"dense"}
    assert "bm25.test.trec" not in [p.name for p in results[2].files["runs"].iterdir()]
    for row in results[2].rows("comparisons"):
        here = values(results[2], system="dense", measure=row["measure"])
        there = values(results[row["against_round"]], system=row["against_system"], measure=row["measure"])
        differences = {q: here[q] - there[q] for q in here if q is not None}
        assert row["difference"] == pytest.approx(np.mean(list(differences.values())))
        assert row["round"] == 2


def test_a_model_compared_with_itself_differs_by_nothing(tmp_path: Path) -> None:
    first = run(evaluate, CONFIG, data(), tmp_path / "0")
    inputs = {**data(), "first_metrics": first.inputs()["metrics"], "previous_metrics": first.inputs()["metrics"]}
    again = run(evaluate, CONFIG, inputs, tmp_path / "1", round=1)
    rows = [r for r in again.rows("comparisons") if r["against_system"] == "dense"]
    assert [(r["difference"], r["low"], r["high"], r["p_value"]) for r in rows] == [(0.0, 0.0, 0.0, 1.0)] * 4


def test_without_bm25_and_without_earlier_metrics(tmp_path: Path) -> None:
    config = parse(EvaluateConfig, {**CONFIG.semantic(), "bm25": False}, "evaluate")
    assert config.bm25 is None
    result = run(evaluate, config, data(), tmp_path, round=1)
    assert result.rows("comparisons") == []
    assert any("no metrics of round 0" in m for m in result.messages)


def test_a_depth_beyond_the_corpus_is_said(tmp_path: Path) -> None:
    result = run(evaluate, EvaluateConfig(bootstrap=100, randomisations=100), data(), tmp_path)
    assert result.facts["depth"] == DOCS
    assert any("clamped" in m for m in result.messages)


def test_the_same_twice_to_the_byte(tmp_path: Path) -> None:
    one, two = (run(evaluate, CONFIG, data(), tmp_path / x) for x in "ab")
    assert one["metrics"].equals(two["metrics"])
    assert one["comparisons"].equals(two["comparisons"])
    for path in one.files["runs"].iterdir():
        assert path.read_bytes() == (two.files["runs"] / path.name).read_bytes()


def test_faults_are_explained(tmp_path: Path) -> None:
    config = EvaluateConfig(**{**dict(CONFIG), "splits": ("valid",)})
    with pytest.raises(InputError, match="'valid'") as error:
        run(evaluate, config, data(), tmp_path)
    assert "dev, test, train" in str(error.value)
    with pytest.raises(ConfigError, match="from 1 to depth"):
        parse(EvaluateConfig, {"depth": 50}, "evaluate")
    with pytest.raises(ConfigError, match="retriever over texts"):
        parse(EvaluateConfig, {"bm25": True}, "evaluate")
    with pytest.raises(ConfigError, match="k11"):
        parse(EvaluateConfig, {"bm25": {"name": "bm25", "k11": 2}}, "evaluate")
    assert parse(EvaluateConfig, {"bm25": {"name": "bm25", "k1": 0.9}}, "evaluate").bm25 == Bm25(k1=0.9)
    assert EvaluateConfig().semantic()["bm25"]["name"] == "bm25"


def test_a_real_index_gives_what_the_oracle_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    oracle = run(evaluate, CONFIG, data(), tmp_path / "oracle")
    monkeypatch.delitem(sys.modules, "stages.search")
    index = pytest.importorskip("stages.index")
    inputs = data()
    built = run(index, index.IndexConfig(recall_depth=10), inputs, tmp_path / "index")
    result = run(evaluate, CONFIG, {**inputs, **built.inputs()}, tmp_path / "faiss")
    assert result["hits"].equals(oracle["hits"])
    assert result["metrics"].equals(oracle["metrics"])


def test_an_approximate_index_is_not_searched_deeper_than_its_recall_was_measured(tmp_path: Path) -> None:
    inputs = data()
    index = File(tmp_path, {"exact": False, "rows": DOCS, "recall": {"depth": 39}})
    with pytest.raises(YieldError, match="depth of 40") as error:
        run(evaluate, CONFIG, {**inputs, "corpus.faiss": index}, tmp_path)
    assert error.value.where == "evaluate.depth"
    assert "39 documents" in str(error.value)
    assert "index.recall_depth = 40" in str(error.value)
    for facts in ({"exact": False, "rows": DOCS, "recall": {"depth": 40}}, {"exact": True}):
        index = File(tmp_path, {**inputs["corpus.faiss"].facts, **facts})
        assert run(evaluate, CONFIG, {**inputs, "corpus.faiss": index}, tmp_path)["hits"].num_rows
    whole = CONFIG.model_copy(update={"depth": 10 * DOCS})
    index = File(tmp_path, {"exact": False, "rows": DOCS, "recall": {"depth": DOCS}})
    assert run(evaluate, whole, {**inputs, "corpus.faiss": index}, tmp_path)["hits"].num_rows
