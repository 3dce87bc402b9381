"""The benchmark measures what it says: every contender does the same work on the same vectors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import vectors
from benchmarks.contenders import contenders
from benchmarks.mining import recall_of
from benchmarks.prepare import prepare

QUERIES, DOCUMENTS, DEPTH = 60, 700, 20
OPTIONS: dict[str, Any] = {
    "index": {"name": "flat"},
    "depth": DEPTH,
    "negatives": 3,
    "threads": 1,
    "block_queries": 25,
    "mapped": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("bench")
    prepare(place, {"queries": QUERIES, "documents": DOCUMENTS, "dimensions": 24, "seed": 0, "texts": True})
    return place


def exact(folder: Path) -> np.ndarray:
    queries, documents = (np.load(folder / f"{name}.npy").astype(np.float64) for name in ("queries", "documents"))
    return np.argsort(-(queries @ documents.T), axis=1, kind="stable")[:, :DEPTH]


@pytest.mark.parametrize("name", ["ours", "faiss-16384", "faiss-4096", "faiss-64", "st-semantic", "st-similarity"])
def test_every_search_finds_the_nearest_documents(folder: Path, name: str) -> None:
    contenders()[name](folder, OPTIONS)()
    found = np.load(folder / "hits" / f"{name}.npy")
    assert [set(row) for row in found.tolist()] == [set(row) for row in exact(folder).tolist()]
    assert recall_of(found, exact(folder), folder) == 1.0


def test_recall_counts_what_is_missing_and_no_hit_twice(folder: Path) -> None:
    found = exact(folder)
    found[:, 10:] = -1
    assert recall_of(found, exact(folder), folder) == pytest.approx(0.5, abs=0.01)
    found[:, 10:] = found[:, :1]
    assert recall_of(found, exact(folder), folder) == pytest.approx(0.5, abs=0.01)


def test_ours_and_the_peer_fill_the_same_queries(folder: Path) -> None:
    made = {
        name: contenders()[name](folder, OPTIONS)() for name in ("triplets-ours", "triplets-st", "triplets-st-faiss")
    }
    counts = {(one["triplets"], one["full"], one["some"]) for one in made.values()}
    assert len(counts) == 1
    assert 0 < counts.pop()[1] <= QUERIES
    assert made["triplets-ours"]["candidates"] == QUERIES * DEPTH
    assert set(made["triplets-ours"]["split"]) == {"index", "mine", "teach", "judge", "deepen", "sample", "export"}


def test_vectors_are_the_same_in_each_run_and_of_length_one(tmp_path: Path) -> None:
    for name in ("a", "b"):
        vectors.write(tmp_path / name, 10, 300, 16, 4)
    for file in ("documents.npy", "queries.npy", "positives.npy"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    np.testing.assert_allclose(np.linalg.norm(np.load(tmp_path / "a" / "documents.npy"), axis=1), 1, rtol=1e-6)


def test_given_vectors_are_split_into_documents_and_queries(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    np.save(tmp_path / "all.npy", values)
    vectors.given(tmp_path / "made", tmp_path / "all.npy", 10, 40, 0)
    np.testing.assert_allclose(np.load(tmp_path / "made" / "queries.npy"), vectors.unit(values[40:]), rtol=1e-6)
    positives = np.load(tmp_path / "made" / "positives.npy")
    order = np.argsort(-(vectors.unit(values[40:]) @ vectors.unit(values[:40]).T), axis=1)
    assert positives.tolist() == order[:, 1].tolist()
    with pytest.raises(SystemExit, match="are needed"):
        vectors.given(tmp_path / "made", tmp_path / "all.npy", 10, 41, 0)
