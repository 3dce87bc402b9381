"""Mining with several retrievers: BM25, a given run and the saved index, end to end in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import deepen, index, judge, mine, sample, teach
from stages.deepen import DeepenConfig
from stages.errors import ConfigError, YieldError
from stages.index import IndexConfig
from stages.judge import JudgeConfig
from stages.mine import MineConfig
from stages.retrievers.bm25 import Bm25
from stages.sample import SampleConfig
from stages.settings import parse
from stages.teach import TeachConfig
from tests.models import corpus, qrels, queries, static, vectors
from tests.reference import inner
from tests.retrieval_world import DOCUMENTS, QUERIES
from tests.support import Result, run

TRIPLES = [(0, 0, 1), (0, 1, 1), (1, 2, 1), (2, 10, 1), (3, 11, 1), (4, 7, 1)]
DEPTH = 4


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], np.ndarray, np.ndarray, Path]:
    folder = tmp_path_factory.mktemp("hybrid")
    model = static().load("cpu", "fp32")
    q, c = model.encode(QUERIES, "query"), model.encode(DOCUMENTS, "document")
    sources = {"corpus_vectors": vectors(c), "query_vectors": vectors(q, part=2)}
    built = run(index, IndexConfig(), sources, folder)
    given = {"corpus": corpus(DOCUMENTS), "queries": queries(QUERIES), "qrels": qrels(TRIPLES)}
    (folder / "given.run").write_text("q0 Q0 d8 1 9 t\nq0 Q0 d4 2 8 t\nq3 Q0 d10 1 5 t\n")
    return {**sources, **built.inputs(), **given}, q, c, folder


def mined(world: Any, tmp_path: Path, **fields: Any) -> Result:
    inputs, _, _, folder = world
    retrievers = fields.pop("retrievers")
    tables = {name: ({"path": str(folder / "given.run")} if name == "run" else {}) for name in retrievers}
    return run(mine, parse(MineConfig, {"depth": DEPTH, "retrievers": tables, **fields}, "mine"), inputs, tmp_path)


def lists(world: Any) -> dict[str, list[dict[int, float]]]:
    """What each retriever alone finds, best first, from its own parts."""
    _, q, c, _ = world
    rows, scores = Bm25().build(DOCUMENTS).search(QUERIES, DEPTH)
    exact = [[inner(a, b) for b in c] for a in q]
    return {
        "dense": [{d: s[d] for d in sorted(range(12), key=lambda d, s=s: (-s[d], d))[:DEPTH]} for s in exact],
        "bm25": [{int(d): float(s) for d, s in zip(*each, strict=True) if d >= 0} for each in zip(rows, scores, strict=True)],
        "run": [{8: 9.0, 4: 8.0}, {}, {}, {10: 5.0}, {}],
    }  # fmt: skip


@pytest.mark.parametrize("names", [("dense", "bm25"), ("bm25", "run", "dense"), ("bm25",), ("run", "bm25")])
@pytest.mark.parametrize("shard", [2, 100])
def test_a_candidate_keeps_every_rank_and_score_and_its_dense_score(
    world: Any, tmp_path: Path, names: tuple[str, ...], shard: int
) -> None:
    _, q, c, _ = world
    found = lists(world)
    expected = []
    for query in range(5):
        ranks = {n: {d: i for i, d in enumerate(found[n][query], 1)} for n in names}
        documents = {d for n in names for d in ranks[n]}
        fused = {d: round(sum(1 / (60 + ranks[n][d]) for n in names if d in ranks[n]), 10) for d in documents}
        for rank, d in enumerate(sorted(documents, key=lambda d: (-fused[d], d)), 1):
            by = [
                {"retriever": n, "rank": ranks[n][d], "score": pytest.approx(found[n][query][d], abs=1e-11)}
                for n in names
                if d in ranks[n]
            ]
            expected.append({
                "query_row": query, "doc_row": d, "rank": rank, "score": pytest.approx(inner(q[query], c[d]), abs=1e-11),
                "retriever": "rrf" if len(names) > 1 else names[0], "found_by": by,
            })  # fmt: skip
    result = mined(world, tmp_path, retrievers=names, shard_queries=shard)
    assert result.rows("candidates") == expected
    ranks = {(row["query_row"], row["doc_row"]): row["rank"] for row in expected}
    assert [(p["query_row"], p["positive_row"], p["rank"]) for p in result.rows("positives")] == [
        (query, document, ranks.get((query, document))) for query, document, _ in TRIPLES
    ]
    assert result.facts["retrievers"] == list(names)
    if "bm25" in names:
        assert result.counters["bm25.queries_without_hit"] == 1  # the zebra


def test_dense_alone_says_nothing_twice(world: Any, tmp_path: Path) -> None:
    alone = mined(world, tmp_path, retrievers=("dense",))
    assert alone["candidates"]["found_by"].null_count == 20
    assert alone["candidates"].equals(run(mine, MineConfig(depth=DEPTH), world[0], tmp_path)["candidates"])


def test_retrievers_that_cannot_be_told_apart_are_refused(world: Any) -> None:
    for fields, says in (
        ({"retrievers": []}, "no retriever"),
        ({"retrievers": [{"name": "bm25"}, {"name": "bm25"}]}, "one name"),
        ({"fusion": {"name": "rrf", "weights": {"bm52": 2.0}}, "retrievers": {"bm25": {}, "dense": {}}}, "bm52"),
    ):
        with pytest.raises(ConfigError, match=says):
            parse(MineConfig, fields, "mine")
    two = [{"name": "run", "path": "a", "label": "one"}, {"name": "run", "path": "b"}]
    assert parse(MineConfig, {"retrievers": two}, "mine").labels == ["one", "run"]


def test_what_is_outside_of_the_workspace_is_known_by_its_content(world: Any) -> None:
    path = world[3] / "given.run"
    config = parse(MineConfig, {"retrievers": {"dense": {}, "bm25": {}, "run": {"path": str(path)}}}, "mine")
    assert set(mine.external(config, {}, "cpu")) == {"run"}
    assert mine.external(MineConfig(), {}, "cpu") == {}


def test_hybrid_candidates_go_through_judge_deepen_and_sample(world: Any, tmp_path: Path) -> None:
    inputs, q, c, _ = world
    inputs = {**inputs, **mined(world, tmp_path, retrievers=("dense", "bm25"), shard_queries=3).inputs()}
    inputs |= run(teach, TeachConfig(), inputs, tmp_path).inputs()
    inputs |= run(judge, JudgeConfig(), inputs, tmp_path).inputs()
    before = inputs["judged"].read()
    inputs |= run(deepen, DeepenConfig(wanted=2, limit=12), inputs, tmp_path).inputs()
    added = inputs["deepened"].read().to_pylist()
    assert added
    seen = {(r["query_row"], r["doc_row"]) for r in before.to_pylist()}
    for row in added:
        assert (row["query_row"], row["doc_row"]) not in seen
        scores = [inner(q[row["query_row"]], document) for document in c]
        place = sorted(range(12), key=lambda d: (-scores[d], d)).index(row["doc_row"]) + 1
        assert row["found_by"] == [{"retriever": "dense", "rank": place, "score": row["score"]}]
    both = [*before.to_pylist(), *added]
    chosen = run(sample, SampleConfig(negatives=2, min_yield=0), inputs, tmp_path).rows("triplets")
    for query, positive, _ in TRIPLES:
        kept = [r for r in both if r["query_row"] == query and r["verdict"] == "kept"]
        expected = [r["doc_row"] for r in sorted(kept, key=lambda r: (-r["score"], r["doc_row"]))][:2]
        pair = [t["negative_row"] for t in chosen if (t["query_row"], t["positive_row"]) == (query, positive)]
        assert pair == expected
    with pytest.raises(YieldError):
        run(sample, SampleConfig(min_yield=1.0), {**inputs, "deepened": emptied(inputs)}, tmp_path)


def emptied(inputs: dict[str, Any]) -> Any:
    from tests.support import source

    return source(*(table.slice(0, 0) for table in inputs["deepened"].tables))
