from pathlib import Path

import faiss
import numpy as np
import pytest

from stages.indexes._cells import CellSearcher
from stages.indexes.factory import Factory


def clustered(count: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(9).standard_normal((12, 16))
    values = centres[generator.integers(0, 12, count)] + 0.5 * generator.standard_normal((count, 16))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


CORPUS, QUERIES = clustered(3000, 0), clustered(200, 1)


def built(nprobe: int, corpus: np.ndarray = CORPUS, lists: int = 24) -> CellSearcher:
    searcher = Factory(factory=f"IVF{lists},Flat", nprobe=nprobe).build([corpus], *corpus.shape)
    assert isinstance(searcher, CellSearcher)
    return searcher


@pytest.mark.parametrize("nprobe", [1, 2, 7, 24])
@pytest.mark.parametrize("k", [1, 10, 400])
def test_it_finds_what_faiss_finds(nprobe: int, k: int) -> None:
    searcher = built(nprobe)
    scores, rows = searcher.search(QUERIES, k)
    expected_scores, expected = searcher.index.search(QUERIES, k)
    hit = expected >= 0
    assert ((rows >= 0) == hit).all()
    assert np.allclose(scores[hit], expected_scores[hit], atol=1e-6)
    assert np.isneginf(scores[~hit]).all()
    assert (np.diff(np.where(hit, scores, -2.0), axis=1) <= 0).all()
    for query, found, wanted, limit in zip(QUERIES, rows, expected, expected_scores, strict=True):
        differ = set(found.tolist()) ^ set(wanted.tolist())
        assert all(abs(float(query @ CORPUS[row]) - limit[-1]) < 1e-6 for row in differ if row >= 0)


def test_all_lists_find_the_nearest_by_float64() -> None:
    _, rows = built(24).search(QUERIES, 5)
    best = np.argsort(-(QUERIES.astype(np.float64) @ CORPUS.astype(np.float64).T), axis=1)[:, :5]
    assert rows.tolist() == best.tolist()


def test_more_queries_than_a_block_and_cells_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    searcher = built(9)
    _, whole = searcher.search(QUERIES, 20)
    monkeypatch.setattr("stages.indexes._cells._QUERIES", 33)
    monkeypatch.setattr("stages.indexes._cells._ENTRIES", 500)
    assert searcher.search(QUERIES, 20)[1].tolist() == whole.tolist()


def test_ties_and_empty_cells_are_filled_up() -> None:
    ties = np.repeat(np.eye(4, 16, dtype=np.float32), 40, axis=0)
    searcher = built(8, ties, lists=8)
    scores, rows = searcher.search(ties[:1], 60)
    assert sorted(rows[0, :40].tolist()) == list(range(40))
    assert scores[0, :40].tolist() == [1.0] * 40
    found = rows[0][rows[0] >= 0]
    assert len(set(found.tolist())) == len(found)


def test_negative_scores_are_ordered_too() -> None:
    scores, rows = built(24).search(-QUERIES, 3000)
    assert sorted(rows[0].tolist()) == list(range(3000))
    assert scores[0, -1] < 0 < scores[0, 0]
    assert (np.diff(scores, axis=1) <= 0).all()


def test_a_saved_index_is_searched_the_same_way(tmp_path: Path) -> None:
    kind = Factory(factory="IVF24,Flat", nprobe=5)
    before = kind.build([CORPUS], *CORPUS.shape)
    kind.save(before, tmp_path / "corpus.faiss")
    after = kind.load(tmp_path / "corpus.faiss", *CORPUS.shape)
    assert isinstance(after, CellSearcher)
    for left, right in zip(before.search(QUERIES, 10), after.search(QUERIES, 10), strict=True):
        assert (left == right).all()


def test_other_kinds_are_left_to_faiss() -> None:
    searcher = Factory(factory="IVF8,SQ8").build([CORPUS], *CORPUS.shape)
    assert not isinstance(searcher, CellSearcher)
    assert isinstance(searcher.index, faiss.IndexIVFScalarQuantizer)
