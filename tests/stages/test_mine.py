from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import index, mine
from stages.errors import ArtefactError, YieldError
from stages.index import IndexConfig
from stages.indexes.flat import Flat
from stages.mine import MineConfig
from tests.models import corpus, qrels, queries, vectors
from tests.reference import brute_force
from tests.support import Result, run

pytestmark = pytest.mark.usefixtures("nothing_is_few")


Triples = list[tuple[int, int, int]]


def inputs_for(
    q: np.ndarray, c: np.ndarray, triples: Triples, folder: Path, *, kind: Any = None, splits: Any = None, **fields: Any
) -> dict[str, Any]:
    sources = {"corpus_vectors": vectors(c), "query_vectors": vectors(q, part=3)}
    config = IndexConfig.model_validate({**({"kind": kind} if kind else {}), **fields})
    built = run(index, config, sources, folder)
    made = queries([f"query {i}" for i in range(len(q))], splits=splits)
    documents = corpus([f"document {i}" for i in range(len(c))])
    return {**sources, **built.inputs(), "corpus": documents, "queries": made, "qrels": qrels(triples)}


def check(
    result: Result, q: np.ndarray, c: np.ndarray, triples: Triples, depth: int, *, tolerance: float = 0.0
) -> None:
    """Candidates and positives are those of the reference: the same pairs, ranks and scores, in the order of the schema."""
    candidates, positives = brute_force(q, c, triples, depth)
    expected = [(query, row, rank, score) for query, hits in candidates.items() for row, rank, score in hits]
    found = [(r["query_row"], r["doc_row"], r["rank"], r["score"]) for r in result.rows("candidates")]
    assert [row[:3] for row in found] == [row[:3] for row in expected]
    np.testing.assert_allclose([row[3] for row in found], [row[3] for row in expected], rtol=0, atol=tolerance)
    scored = {(r["query_row"], r["positive_row"]): (r["score"], r["rank"]) for r in result.rows("positives")}
    assert list(scored) == list(positives)
    assert [rank for _, rank in scored.values()] == [rank for _, rank in positives.values()]
    np.testing.assert_allclose(
        [s for s, _ in scored.values()], [s for s, _ in positives.values()], rtol=0, atol=tolerance
    )


def integers(rows: int, dimensions: int, seed: int, low: int = -3, high: int = 4) -> np.ndarray:
    """Vectors whose inner products are exact, with many ties."""
    return np.random.default_rng(seed).integers(low, high, (rows, dimensions)).astype(np.float32)


def test_real_scores_and_several_positives_a_query(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    q, c = (generator.standard_normal((rows, 24)).astype(np.float32) for rows in (20, 300))
    triples = [
        (query, int(doc), 1) for query in range(20) for doc in generator.choice(300, 1 + query % 4, replace=False)
    ]
    result = run(mine, MineConfig(depth=30, shard_queries=6), inputs_for(q, c, triples, tmp_path), tmp_path)
    check(result, q, c, triples, 30, tolerance=2.0**-39)
    assert {r["retriever"] for r in result.rows("candidates")} == {"dense"}
    assert result.counters["queries"] == 20
    assert result.counters["candidates"] == 600
    assert result.counters["positives"] == len(triples)
    assert result.facts == {"depth": 30, "split": "train", "retriever": "dense", "exact": True}


@pytest.mark.parametrize("depth", [1, 4, 10, 37])
def test_ties_and_duplicates_at_the_last_rank(tmp_path: Path, depth: int) -> None:
    base = integers(40, 3, 1)
    c = np.concatenate([base, base[::-1], base[:15]])
    q = integers(12, 3, 2)
    triples = [(query, (7 * query) % 95, 1) for query in range(12)] + [(3, 90, 2), (3, 5, 1)]
    result = run(mine, MineConfig(depth=depth, shard_queries=5), inputs_for(q, c, triples, tmp_path), tmp_path)
    check(result, q, c, triples, depth)


def test_identical_documents_come_in_the_order_of_their_rows(tmp_path: Path) -> None:
    q, c = np.ones((2, 5), dtype=np.float32), np.full((200, 5), 0.1, dtype=np.float32)
    inputs = inputs_for(q, c, [(0, 150, 1), (1, 2, 1)], tmp_path, kind=Flat())
    result = run(mine, MineConfig(depth=7), inputs, tmp_path)
    assert [r["doc_row"] for r in result.rows("candidates")] == [*range(7), *range(7)]
    assert [(r["positive_row"], r["rank"]) for r in result.rows("positives")] == [(150, None), (2, 3)]
    candidates, positives = result.rows("candidates"), result.rows("positives")
    assert {r["score"] for r in candidates} == {r["score"] for r in positives}
    assert result.counters["deepened"] == 2
    assert any("searched deeper" in message for message in result.messages)


def test_depth_beyond_the_corpus_is_clamped_and_said(tmp_path: Path) -> None:
    q, c = integers(3, 4, 1), integers(6, 4, 2)
    triples = [(0, 1, 1), (1, 5, 1), (2, 0, 1)]
    result = run(mine, MineConfig(depth=100), inputs_for(q, c, triples, tmp_path), tmp_path)
    check(result, q, c, triples, 100)
    assert result.counters["clamped"] == 3
    assert result.facts["depth"] == 6
    assert any("6" in message and "100" in message for message in result.messages)


def test_a_corpus_of_one(tmp_path: Path) -> None:
    q, c = integers(2, 4, 1), integers(1, 4, 2)
    result = run(mine, MineConfig(depth=3), inputs_for(q, c, [(0, 0, 1), (1, 0, 1)], tmp_path), tmp_path)
    check(result, q, c, [(0, 0, 1), (1, 0, 1)], 3)


def test_negative_scores_are_ordered_and_kept(tmp_path: Path) -> None:
    q, c = -integers(4, 3, 1, 1, 5), integers(30, 3, 2, 1, 5)
    triples = [(i, i, 1) for i in range(4)]
    result = run(mine, MineConfig(depth=10), inputs_for(q, c, triples, tmp_path), tmp_path)
    check(result, q, c, triples, 10)
    assert all(r["score"] < 0 for r in result.rows("candidates"))


def test_only_queries_of_the_split_with_a_positive_are_mined(tmp_path: Path) -> None:
    q, c = integers(6, 4, 1), integers(20, 4, 2)
    splits = ["train", "test", "train", "train", "dev", "train"]
    triples = [(0, 3, 1), (1, 4, 1), (2, 5, 0), (3, 6, -1), (3, 7, 2), (4, 8, 1)]
    inputs = inputs_for(q, c, triples, tmp_path, splits=splits)
    result = run(mine, MineConfig(depth=5), inputs, tmp_path)
    check(result, q, c, [(0, 3, 1), (3, 7, 2)], 5)
    assert result.counters["queries.without_positives"] == 2
    check(run(mine, MineConfig(depth=5, split="test"), inputs, tmp_path), q, c, [(1, 4, 1)], 5)
    with pytest.raises(YieldError, match="dev 1, test 1, train 4"):
        run(mine, MineConfig(split="validation"), inputs, tmp_path)


def test_a_resumed_run_does_the_pending_shards_alone(tmp_path: Path) -> None:
    q, c = integers(10, 4, 1), integers(40, 4, 2)
    triples = [(i, i, 1) for i in range(0, 10, 2)] + [(9, 3, 1)]
    inputs = inputs_for(q, c, triples, tmp_path)
    config = MineConfig(depth=5, shard_queries=2)
    complete = run(mine, config, inputs, tmp_path)
    assert complete.shards == ["queries-00000", "queries-00001", "queries-00002"]
    again = run(mine, config, inputs, tmp_path, only=["queries-00001"])
    for name in ("candidates", "positives"):
        assert again.tables[name].tables[0].equals(complete.tables[name].tables[1])
    assert (again.facts, "queries.without_positives" in again.counters) == ({}, False)


@pytest.mark.parametrize(
    "kind", [{"factory": "IVF20,Flat", "nprobe": 1}, {"factory": "HNSW8"}, {"factory": "IVF4,PQ4x4fs"}]
)
def test_an_approximate_index_gives_ordered_rows_that_exist(tmp_path: Path, kind: dict[str, Any]) -> None:
    generator = np.random.default_rng(0)
    q, c = (generator.standard_normal((rows, 16)).astype(np.float32) for rows in (30, 900))
    triples = [(i, i, 1) for i in range(30)]
    inputs = inputs_for(q, c, triples, tmp_path, kind={"name": "factory", **kind}, recall_floor=0.0)
    result = run(mine, MineConfig(depth=100, shard_queries=13), inputs, tmp_path)
    exact = q.astype(np.float64) @ c.astype(np.float64).T
    rows = result.rows("candidates")
    for query in range(30):
        hits = [r for r in rows if r["query_row"] == query]
        assert [r["rank"] for r in hits] == list(range(1, len(hits) + 1))
        assert [(-r["score"], r["doc_row"]) for r in hits] == sorted((-r["score"], r["doc_row"]) for r in hits)
        documents = [r["doc_row"] for r in hits]
        assert len(set(documents)) == len(documents)
        assert set(documents) <= set(range(900))
        np.testing.assert_allclose([r["score"] for r in hits], exact[query, documents], atol=1e-11)
    assert result.counters["missing"] == 3000 - len(rows)
    if "nprobe" in kind:
        assert result.counters["missing"] > 0
    positives = {(r["query_row"], r["positive_row"]): r["score"] for r in result.rows("positives")}
    assert set(positives) == {(i, i) for i in range(30)}
    np.testing.assert_allclose([positives[i, i] for i in range(30)], exact.diagonal(), atol=1e-11)


def test_an_approximate_index_is_searched_no_deeper_than_its_recall_was_measured(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    q, c = (generator.standard_normal((rows, 8)).astype(np.float32) for rows in (5, 90))
    kind = {"name": "factory", "factory": "IVF2,Flat", "nprobe": 2}
    inputs = inputs_for(q, c, [(0, 1, 1)], tmp_path, kind=kind, recall_depth=20)
    with pytest.raises(YieldError, match=r"recall is not known at a depth of 21[\s\S]*over 20 documents"):
        run(mine, MineConfig(depth=21), inputs, tmp_path)
    assert run(mine, MineConfig(depth=20), inputs, tmp_path).counters["candidates"] == 20
    whole = inputs_for(q, c, [(0, 1, 1)], tmp_path, kind=kind, recall_depth=90)
    assert run(mine, MineConfig(depth=500), whole, tmp_path).counters["candidates"] == 90
    exact = inputs_for(q, c, [(0, 1, 1)], tmp_path, recall_depth=20)
    assert run(mine, MineConfig(depth=50), exact, tmp_path).counters["candidates"] == 50


def test_an_index_of_other_vectors_is_refused(tmp_path: Path) -> None:
    q, c = integers(3, 4, 1), integers(20, 4, 2)
    inputs = inputs_for(q, c, [(0, 1, 1)], tmp_path)
    for other, what in ((c[::-1].copy(), "not built from these vectors"), (c[:-1], "does not belong to these vectors")):
        with pytest.raises(ArtefactError, match=what):
            run(mine, MineConfig(), {**inputs, "corpus_vectors": vectors(other)}, tmp_path)
