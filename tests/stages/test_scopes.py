"""Texts look for pictures and pictures for texts: every search against brute force among the documents of the other kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import evaluate, index, mine
from stages.errors import ConfigError, InputError
from stages.evaluate import EvaluateConfig
from stages.index import IndexConfig
from stages.indexes.exact import Exact
from stages.indexes.factory import Factory
from stages.indexes.flat import Flat
from stages.mine import MineConfig
from stages.retrievers.bm25 import Bm25
from stages.scopes import Scopes
from stages.scoring import longest
from stages.search import Corpus
from tests.models import vectors
from tests.reference import inner
from tests.support import run, source, table

PICTURES, TEXTS, QUERIES, D = 37, 23, 14, 6
KINDS: dict[str, Any] = {
    "exact": Exact(memory=16),
    "flat": Flat(),
    "lists": Factory(factory="IVF4,Flat", nprobe=4),
    "lists of codes": Factory(factory="IVF2,SQ8,RFlat", nprobe=2, refine_factor=60),
    "graph": Factory(factory="HNSW16", ef_search=120),
}


def values(count: int, seed: int) -> np.ndarray:
    """On a coarse grid, so that scores tie."""
    found = np.random.default_rng(seed).integers(-3, 4, (count, D)).astype(np.float32)
    found[:, 0] += 0.5
    return found


def world(folder: Path, kind: Any = None, documents: int = PICTURES + TEXTS) -> dict[str, Any]:
    """Documents with the pictures first; every third query a picture, whose positives are texts."""
    corpus = [
        {"row": i, "doc_id": f"d{i}", "title": None, "text": f"t{i}", "group": None, "text_hash": 1000 + i,
         "picture": i if i < PICTURES else None}
        for i in range(documents)
    ]  # fmt: skip
    queries = [
        {"row": i, "query_id": f"q{i}", "text": f"a{i}", "split": "train" if i % 2 else "test", "prompt": None,
         "source": "given", "text_hash": i, "picture": PICTURES + i if i % 3 == 0 else None}
        for i in range(QUERIES)
    ]  # fmt: skip
    pairs = [
        (q, PICTURES + (5 * q + n) % TEXTS if q % 3 == 0 else (7 * q + n) % PICTURES)
        for q in range(QUERIES)
        for n in (0, 1)
    ]
    qrels = [
        {"query_row": q, "doc_row": d, "relevance": 1, "split": "train" if q % 2 else "test", "source": "given"}
        for q, d in sorted(pairs)
    ]
    found: dict[str, Any] = {
        "corpus": source(table("corpus", corpus)),
        "queries": source(table("queries", queries)),
        "qrels": source(table("qrels", qrels)),
        "corpus_vectors": vectors(values(documents, 1)),
        "query_vectors": vectors(values(QUERIES, 2)),
    }
    return {**found, **run(index, IndexConfig(kind=kind or Exact(memory=16), recall_depth=60), found, folder).inputs()}


def expected(query: int, depth: int) -> list[tuple[int, float]]:
    """The best documents of the other kind by (-score, row)."""
    corpus, vector = values(PICTURES + TEXTS, 1), values(QUERIES, 2)[query]
    rows = range(PICTURES, PICTURES + TEXTS) if query % 3 == 0 else range(PICTURES)
    return sorted(((row, inner(vector, corpus[row])) for row in rows), key=lambda pair: (-pair[1], pair[0]))[:depth]


@pytest.mark.parametrize("name", list(KINDS))
@pytest.mark.parametrize("depth", [1, 9, 30])
def test_a_range_of_any_index_finds_what_brute_force_finds_there(name: str, depth: int):
    corpus, kind = values(PICTURES + TEXTS, 1), KINDS[name]
    whole = Corpus(corpus, kind.build([corpus], *corpus.shape), kind.exact, longest(corpus))
    for start, stop in ((0, PICTURES), (PICTURES, PICTURES + TEXTS), (5, 5), (11, 12)):
        hits = whole.within(start, stop).search(values(QUERIES, 2), depth)
        for query in range(QUERIES):
            scores = [inner(values(QUERIES, 2)[query], corpus[row]) for row in range(start, stop)]
            order = sorted(range(len(scores)), key=lambda row: (-scores[row], row))[:depth]
            assert hits.rows[query].tolist() == order
            assert hits.scores[query].tolist() == [scores[row] for row in order]


def test_what_faiss_cannot_search_in_part_is_refused():
    corpus = values(60, 1)
    built = Factory(factory="PQ2x4").build([corpus], 60, D)
    with pytest.raises(ConfigError, match="does not search a part of this index"):
        built.part(0, 10)


@pytest.mark.parametrize("name", ["exact", "flat", "lists"])
@pytest.mark.parametrize(("depth", "cell"), [(8, None), (50, None), (8, 16)])
def test_mining_finds_pictures_for_texts_and_texts_for_pictures(
    name: str, depth: int, cell: int | None, tmp_path: Path
):
    if cell is not None and name != "exact":
        pytest.skip("cells are for the exact index")
    inputs = world(tmp_path, KINDS[name])
    config = MineConfig(depth=depth, cell_documents=cell, shard_queries=3)
    found = run(mine, config, inputs, tmp_path).inputs()["candidates"].read().to_pylist()
    queries = [q for q in range(QUERIES) if q % 2]
    assert sorted({row["query_row"] for row in found}) == queries
    for query in queries:
        rows = [(row["doc_row"], row["score"]) for row in found if row["query_row"] == query]
        assert rows == expected(query, depth)
    assert {row["rank"] for row in found} == set(range(1, min(depth, PICTURES) + 1))


def test_evaluate_measures_both_directions_apart(tmp_path: Path):
    inputs = world(tmp_path)
    config = EvaluateConfig(depth=37, ndcg_cutoffs=(5,), mrr_cutoffs=(5,), recall_cutoffs=(5,), bootstrap=100)
    result = run(evaluate, config, inputs, tmp_path)
    rows = result.inputs()["metrics"].read().to_pylist()
    assert {row["system"] for row in rows} == {"dense", "dense text to picture", "dense picture to text"}
    means = {(row["system"], row["measure"]): row["value"] for row in rows if row["query_row"] is None}
    relevant = {
        q: {row["doc_row"] for row in inputs["qrels"].read().to_pylist() if row["query_row"] == q}
        for q in range(0, QUERIES, 2)
    }
    recalls = {q: len({row for row, _ in expected(q, 5)} & relevant[q]) / 2 for q in relevant}
    for system, some in (
        ("dense", list(recalls)),
        ("dense text to picture", [q for q in recalls if q % 3]),
        ("dense picture to text", [q for q in recalls if q % 3 == 0]),
    ):
        assert means[system, "Recall"] == pytest.approx(np.mean([recalls[q] for q in some]))
    assert not any("bm25" in row["system"] for row in rows)
    assert any("BM25 is not measured" in line for line in result.messages)


def test_one_kind_of_documents_is_searched_whole(tmp_path: Path):
    """As for SimCLR: pictures among pictures."""
    inputs = world(tmp_path, documents=PICTURES)
    scopes = Scopes.of(inputs)
    assert (scopes.range_of(True), scopes.range_of(False), scopes.shown) == ((0, PICTURES), (0, PICTURES), None)
    assert [group.stop for group in scopes.groups(np.arange(4))] == [PICTURES]


def test_pictures_behind_texts_are_refused(tmp_path: Path):
    inputs = world(tmp_path)
    turned = inputs["corpus"].read().to_pylist()[::-1]
    with pytest.raises(InputError, match="has its pictures first"):
        Scopes.of({**inputs, "corpus": source(table("corpus", turned))})


def test_a_retriever_of_texts_is_refused_where_there_are_pictures(tmp_path: Path):
    with pytest.raises(ConfigError, match="'bm25' searches texts, and there are pictures"):
        run(mine, MineConfig(retrievers=(Bm25(),)), world(tmp_path), tmp_path)


def alike(folder: Path) -> dict[str, Any]:
    """Pictures among pictures: each is a document and a query, three of a kind; of test the others are relevant, of train itself."""
    corpus = [
        {"row": i, "doc_id": f"d{i}", "title": None, "text": "", "group": f"g{i // 3}", "label": "ab"[i // 3 % 2],
         "text_hash": 50 + i, "picture": i}
        for i in range(24)
    ]  # fmt: skip
    split = ["train" if i // 3 < 4 else "test" for i in range(24)]
    queries = [
        {"row": i, "query_id": f"q{i}", "text": "", "split": split[i], "prompt": None, "source": "given",
         "text_hash": 50 + i, "picture": i}
        for i in range(24)
    ]  # fmt: skip
    qrels = [
        {"query_row": q, "doc_row": d, "relevance": 1, "split": split[q], "source": "given"}
        for q in range(24)
        for d in range(q // 3 * 3, q // 3 * 3 + 3)
        if (d == q) == (split[q] == "train")
    ]
    same = values(24, 5)
    same += 3 * np.repeat(values(8, 6), 3, axis=0) + np.where(np.arange(24) // 3 % 2, 20, -20)[:, None]
    found: dict[str, Any] = {
        "corpus": source(table("corpus", corpus)),
        "queries": source(table("queries", queries)),
        "qrels": source(table("qrels", qrels)),
        "corpus_vectors": vectors(same),
        "query_vectors": vectors(same),
    }
    return {**found, **run(index, IndexConfig(kind=Exact(memory=16), recall_depth=20), found, folder).inputs()}


def test_a_picture_that_looks_for_others_does_not_find_itself(tmp_path: Path):
    inputs = alike(tmp_path)
    config = EvaluateConfig(
        depth=5, ndcg_cutoffs=(5,), mrr_cutoffs=(5,), recall_cutoffs=(5,), bootstrap=100, neighbours=(1, 3), probe=True
    )
    result = run(evaluate, config, inputs, tmp_path)
    both = np.array(inputs["corpus_vectors"].read()["vector"].to_pylist())
    for query in range(12, 24):
        found = [row["doc_row"] for row in result.rows("hits") if row["query_row"] == query]
        scores = {row: inner(both[query], both[row]) for row in range(24) if row != query}
        assert found == sorted(scores, key=lambda row: (-scores[row], row))[:5]
    means = {(row["measure"], row["cutoff"]): row for row in result.rows("metrics") if row["query_row"] is None}
    assert means["kNN", 1]["value"] == means["Probe", None]["value"] == 1.0
    assert means["kNN", 3]["low"] <= means["kNN", 3]["value"] <= means["kNN", 3]["high"]
    assert any("12 pictures of test are told from 12 of train" in line for line in result.messages)


def test_without_labels_there_is_nothing_to_tell_apart(tmp_path: Path):
    with pytest.raises(ConfigError, match="need pictures with labels"):
        run(evaluate, EvaluateConfig(depth=40, recall_cutoffs=(10,), probe=True), world(tmp_path), tmp_path)


def test_the_recall_of_an_approximate_index_is_that_among_the_kind_it_finds_worse(tmp_path: Path):
    """One list of four is visited."""
    corpus = vectors(values(PICTURES + TEXTS, 1))
    inputs = {"corpus_vectors": corpus, "query_vectors": vectors(values(QUERIES, 2))}
    found = {}
    for name, facts in (("whole", {}), ("in parts", {"pictures": PICTURES})):
        inputs["corpus_vectors"].facts = facts
        config = IndexConfig(kind=Factory(factory="IVF4,Flat", nprobe=1), recall_depth=5, recall_floor=0.0)
        found[name] = run(index, config, inputs, tmp_path).facts["recall"]["value"]
    built = Factory(factory="IVF4,Flat", nprobe=1).build([values(PICTURES + TEXTS, 1)], PICTURES + TEXTS, D)
    parts = []
    for start, stop in ((0, PICTURES), (PICTURES, PICTURES + TEXTS)):
        rows = built.part(start, stop).search(values(QUERIES, 2), 5)[1]
        some = values(PICTURES + TEXTS, 1)[start:stop]
        shares = []
        for query, hits in zip(values(QUERIES, 2), rows, strict=True):
            scores = sorted((inner(query, vector) for vector in some), reverse=True)
            shares.append(sum(inner(query, some[row]) >= scores[4] - 1e-5 for row in hits if row >= 0) / 5)
        parts.append(float(np.mean(shares)))
    assert found["in parts"] == pytest.approx(min(found["whole"], *parts))
    assert found["in parts"] < 1
