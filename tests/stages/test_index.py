from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import index
from stages.errors import YieldError
from stages.index import IndexConfig
from stages.indexes.flat import Flat
from stages.search import digest, open_index
from tests.models import vectors
from tests.support import run


def unit(count: int, dimensions: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((count, dimensions))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


CORPUS, QUERIES = unit(2000, 16, 0), unit(100, 16, 1)
INPUTS = {"corpus_vectors": vectors(CORPUS, part=300), "query_vectors": vectors(QUERIES, part=30)}


def test_the_exact_join_is_the_default_and_its_recall_is_one(tmp_path: Path) -> None:
    result = run(index, IndexConfig(), INPUTS, tmp_path)
    assert result.facts == {
        "kind": {"name": "exact"},
        "exact": True,
        "rows": 2000,
        "dimensions": 16,
        "recall": {"depth": 100, "sample": 32, "value": 1.0, "low": 1.0, "high": 1.0},
        "rows_xxh3": digest([CORPUS]),
    }
    searcher, exact = open_index(result.inputs()["corpus.faiss"], 2000, 16)
    assert exact
    assert searcher.search(CORPUS[:9], 1)[1].ravel().tolist() == list(range(9))


def test_measured_recall_is_the_share_of_the_exact_neighbours(tmp_path: Path) -> None:
    config = IndexConfig.model_validate(
        {
            "kind": {"name": "factory", "factory": "IVF32,Flat", "nprobe": 3},
            "recall_sample": 40,
            "recall_depth": 10,
            "recall_floor": 0.1,
            "seed": 5,
        }
    )
    result = run(index, config, INPUTS, tmp_path)
    searcher, exact = open_index(result.inputs()["corpus.faiss"], 2000, 16)
    assert not exact
    sample = QUERIES[np.sort(np.random.default_rng(5).choice(100, 40, replace=False))]
    found = searcher.search(sample, 10)[1]
    best = np.argsort(-(sample.astype(np.float64) @ CORPUS.astype(np.float64).T), axis=1)[:, :10]
    expected = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), best.tolist(), strict=True)])
    measured = result.facts["recall"]
    assert (measured["depth"], measured["sample"], measured["value"]) == (10, 40, pytest.approx(expected))
    assert 0 < measured["low"] < expected < measured["high"] < 1
    assert 0.2 < expected < 0.95
    assert result.facts["kind"] == config.semantic()["kind"]


def test_recall_below_the_floor_stops_the_run(tmp_path: Path) -> None:
    kind = {"name": "factory", "factory": "IVF32,Flat", "nprobe": 1}
    config = IndexConfig.model_validate({"kind": kind, "recall_floor": 0.99})
    with pytest.raises(YieldError, match="recall_floor"):
        run(index, config, INPUTS, tmp_path)


@pytest.mark.parametrize("floor", [{}, {"recall_floor": 0.9}])
def test_an_approximate_index_has_a_floor_of_its_own(tmp_path: Path, floor: dict[str, float]) -> None:
    kind = {"name": "factory", "factory": "IVF32,Flat", "nprobe": 1}
    with pytest.raises(YieldError, match=r"at least 0\.9 is asked for"):
        run(index, IndexConfig.model_validate({"kind": kind, **floor}), INPUTS, tmp_path)


class _Half(Flat):
    """Says that it is exact, and finds every other document."""

    def build(self, vectors: Any, rows: int, dimensions: int) -> Any:
        built = super().build(vectors, rows, dimensions)

        class Searcher:
            def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
                scores, rows = built.search(queries, 2 * k)
                return scores[:, ::2], rows[:, ::2]

        return Searcher()


def test_an_exact_index_must_find_all(tmp_path: Path) -> None:
    with pytest.raises(YieldError, match=r"at least 1\.0 is asked for"):
        run(index, IndexConfig(kind=_Half()), INPUTS, tmp_path)


def test_no_queries_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(YieldError, match="no queries"):
        run(index, IndexConfig(), {**INPUTS, "query_vectors": vectors(QUERIES[:0])}, tmp_path)


@pytest.mark.parametrize(("pairs", "names"), [(1e11, ("flat", "exact")), (10.0, ("factory",))])
def test_auto_saves_what_it_chose_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pairs: float, names: tuple[str, ...]
) -> None:
    monkeypatch.setattr("stages.indexes.auto.LEAST_ROWS", 100)
    config = IndexConfig.model_validate({"kind": {"name": "auto", "exact_pairs": pairs}, "recall_floor": 0.0})
    result = run(index, config, INPUTS, tmp_path)
    assert result.facts["kind"]["name"] in names
    assert result.facts["chosen"]["by"] == "auto"
    assert "2e+05 pairs" in result.facts["chosen"]["because"]
    assert any(result.facts["chosen"]["because"] in message for message in result.messages)
    searcher, exact = open_index(result.inputs()["corpus.faiss"], 2000, 16)
    assert exact == (pairs == 1e11)
    assert searcher.search(CORPUS[:9], 1)[1].ravel().tolist() == list(range(9))


@pytest.mark.parametrize(("asked", "held"), [(1.0, 1.0), (1e25, 1e25), (1e-25, 1e30), (1e18, 1e18), (1e-3, 1e3)])
def test_recall_counts_the_nearest_of_vectors_of_any_length(tmp_path: Path, asked: float, held: float) -> None:
    queries, corpus = QUERIES[:20] * np.float32(asked), CORPUS * np.float32(held)
    order = np.argsort(-(queries.astype(np.float64) @ corpus.astype(np.float64).T), axis=1)

    class Given:
        def __init__(self, rows: np.ndarray) -> None:
            self.rows = rows

        def search(self, queries: np.ndarray, k: int) -> tuple[None, np.ndarray]:
            return None, self.rows

    blocks = index._Blocks(vectors(corpus, part=300))
    for worse in (0, 3, 10):
        found = np.concatenate([order[:, : 10 - worse], order[:, 500 : 500 + worse]], axis=1)
        shares = index.recall(Given(found), queries, blocks, 10)
        np.testing.assert_allclose(shares, 1 - worse / 10)


def test_ties_and_small_corpora_have_full_recall(tmp_path: Path) -> None:
    ties = np.ones((50, 4), dtype=np.float32)
    for corpus in (ties, ties[:1]):
        inputs = {"corpus_vectors": vectors(corpus), "query_vectors": vectors(ties[:3])}
        result = run(index, IndexConfig(recall_depth=20), inputs, tmp_path)
        assert result.facts["recall"] == {
            "depth": min(20, len(corpus)),
            "sample": 3,
            "value": 1.0,
            "low": 1.0,
            "high": 1.0,
        }
    assert any("recall is measured over 1 " in message for message in result.messages)
