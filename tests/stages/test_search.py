from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import scoring, search
from stages.errors import ArtefactError
from stages.indexes.exact import Exact
from stages.indexes.factory import Factory
from stages.indexes.flat import Flat
from tests.models import vectors
from tests.reference import brute_force, inner
from tests.support import File


def some(count: int, dimensions: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dimensions)).astype(np.float32)


def test_a_pair_s_score_is_the_float64_one_to_the_bit_in_any_block() -> None:
    for dimensions in (1, 2, 3, 7, 8, 64, 129, 384, 1000):
        left, right = some(9, dimensions, 1), some(40, dimensions, 2)
        i, j = (index.ravel() for index in np.indices((9, 40)))
        expected = scoring.score_pairs(left, right, i, j)
        for size in (3, 17):
            parts = [scoring.score_pairs(left, right, i[a : a + size], j[a : a + size]) for a in range(0, len(i), size)]
            assert np.concatenate(parts).tobytes() == expected.tobytes()
        shuffled = np.random.default_rng(3).permutation(len(i))
        assert scoring.score_pairs(left, right, i[shuffled], j[shuffled]).tobytes() == expected[shuffled].tobytes()
        alone = [
            scoring.score_pairs(left[a : a + 1], right[b : b + 1], np.array([0]), np.array([0]))[0]
            for a, b in zip(i, j, strict=True)
        ]
        assert np.array(alone).tobytes() == expected.tobytes()
        close = np.array([inner(left[a], right[b]) for a, b in zip(i, j, strict=True)])
        np.testing.assert_allclose(expected, close, atol=2 * scoring.GRID, rtol=0)


def test_scores_lie_on_the_grid_without_a_negative_zero() -> None:
    left = np.array([[1e-7, 1e-7]], dtype=np.float32)
    right = np.array([[1e-7, -1.1e-7], [0.3, 0.4]], dtype=np.float32)
    found = scoring.score_pairs(left, right, np.array([0, 0]), np.array([0, 1]))
    assert found.tolist()[0] == 0.0
    assert not np.signbit(found[0])
    assert (found[1] / scoring.GRID).is_integer()


def test_float32_scores_stay_within_the_bound() -> None:
    for dimensions in (2, 384):
        queries, corpus = 100 * some(20, dimensions, 3), some(200, dimensions, 4)
        rough = (queries @ corpus.T).astype(np.float64)
        exact = queries.astype(np.float64) @ corpus.astype(np.float64).T
        assert (np.abs(rough - exact) <= scoring.error_bound(queries, scoring.longest(corpus))[:, None]).all()


def test_gather_takes_rows_in_one_pass() -> None:
    values = some(30, 4, 5)
    source = vectors(values, part=7)
    wanted = [np.array([0, 3, 6, 7]), np.array([], dtype=np.int64), np.array([20]), np.array([28, 29])]
    for rows, found in zip(wanted, search.gather(source, wanted), strict=True):
        np.testing.assert_array_equal(found, values[rows])


def test_gather_copies_no_rows_that_follow_each_other_in_one_block() -> None:
    values = some(30, 4, 5)
    wanted = [np.arange(2, 7), np.arange(7, 14), np.array([14, 15, 17]), np.arange(19, 23)]
    found = list(search.gather(vectors(values, part=7), wanted))
    for rows, each in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(each, values[rows])
    assert [each.flags.owndata for each in found] == [False, False, True, True]


@pytest.mark.parametrize("kind", [Flat(), Exact(memory=16), Factory(factory="IVF2,Flat", nprobe=2)])
def test_a_corpus_is_held_once_and_bound_to_its_index(kind: Any, tmp_path: Path) -> None:
    values = some(300, 4, 5)
    kind.save(kind.build([values], 300, 4), tmp_path / "index")
    facts = {"kind": kind.semantic(), "rows_xxh3": search.digest([values[:11], values[11:]])}
    index = File(tmp_path / "index", facts)
    corpus = search.open_corpus(vectors(values, part=70), index)
    np.testing.assert_array_equal(corpus.vectors, values)
    assert corpus.exact is kind.exact
    if kind.exact:
        assert np.shares_memory(corpus.vectors, corpus.searcher.vectors)
    found = corpus.search(values[:5], 3)
    assert (
        found.rows.tolist() == search.certified_search(corpus.searcher, values[:5], values, 3, kind.exact).rows.tolist()
    )
    with pytest.raises(ArtefactError, match="not built from these vectors"):
        search.open_corpus(vectors(values[::-1].copy()), index)


class Worst:
    """Exact as float32 goes: adds an error of up to the bound and breaks ties by the highest row."""

    def __init__(self, corpus: np.ndarray, seed: int) -> None:
        self.corpus, self.generator, self.depths = corpus, np.random.default_rng(seed), []

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        self.depths.append(k)
        exact = queries.astype(np.float64) @ self.corpus.astype(np.float64).T
        bound = scoring.error_bound(queries, scoring.longest(self.corpus))[:, None] - 2 * scoring.GRID
        rough = (exact + 0.9 * bound * self.generator.uniform(-1, 1, exact.shape)).astype(np.float32)
        order = np.lexsort((-np.broadcast_to(np.arange(exact.shape[1]), exact.shape), -rough), axis=-1)[:, :k]
        return np.take_along_axis(rough, order, axis=1), order


@pytest.mark.parametrize("seed", range(5))
def test_no_rounding_of_the_index_changes_the_result(seed: int) -> None:
    base = np.random.default_rng(seed).integers(-2, 3, (60, 6)).astype(np.float32)
    corpus = np.concatenate([base, base[:40], base[:20] * np.float32(1 + 2**-20)])
    queries = np.random.default_rng(seed + 100).integers(-2, 3, (15, 6)).astype(np.float32)
    searcher = Worst(corpus, seed)
    for depth in (1, 5, 30):
        expected, _ = brute_force(queries, corpus, [(q, 0, 1) for q in range(15)], depth)
        found = search.certified_search(searcher, queries, corpus, depth, True)
        for q in range(15):
            assert list(zip(found.rows[q].tolist(), found.scores[q].tolist(), strict=True)) == [
                (r, s) for r, _, s in expected[q]
            ]
    assert found.counts["missing"] == 0


def test_deepening_is_counted_and_stops_at_the_corpus() -> None:
    corpus = np.ones((100, 3), dtype=np.float32)
    queries = np.ones((2, 3), dtype=np.float32)
    searcher = Worst(corpus, 0)
    found = search.certified_search(searcher, queries, corpus, 4, True)
    assert searcher.depths == [12, 24, 48, 96, 100]
    assert found.rows.tolist() == [[0, 1, 2, 3]] * 2
    assert found.scores.tolist() == [[3.0] * 4] * 2
    assert found.counts == {"deepened": 2, "missing": 0}


def test_blocks_of_hits_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, queries = some(50, 5, 1), some(30, 5, 2)
    searcher = Flat().build([corpus], 50, 5)
    expected = search.certified_search(searcher, queries, corpus, 10, True)
    monkeypatch.setattr(search, "_HITS", 40)
    found = search.certified_search(searcher, queries, corpus, 10, True)
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_a_foreign_index_is_noticed() -> None:
    corpus, queries = some(50, 5, 1), some(3, 5, 2)
    searcher = Flat().build([corpus[::-1].copy()], 50, 5)
    with pytest.raises(ArtefactError, match="not those of the stored vectors"):
        search.certified_search(searcher, queries, corpus, 10, True)


class Gaps:
    """An approximate index that finds two documents, in the wrong order."""

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        rows[:, :2] = [1, 2]
        return np.full(rows.shape, np.finfo(np.float32).min, dtype=np.float32), rows


def test_what_an_approximate_index_misses_stays_missing() -> None:
    corpus = np.array([[9.0], [1.0], [2.0], [3.0]], dtype=np.float32)
    found = search.certified_search(Gaps(), np.ones((1, 1), dtype=np.float32), corpus, 3, False)
    assert found.rows.tolist() == [[2, 1, -1]]
    assert found.scores.tolist() == [[2.0, 1.0, -np.inf]]
    assert found.counts == {"deepened": 0, "missing": 1}


def test_no_queries_and_no_documents() -> None:
    corpus = some(5, 3, 1)
    searcher = Flat().build([corpus], 5, 3)
    assert search.certified_search(searcher, corpus[:0], corpus, 3, True).rows.shape == (0, 3)
    assert search.certified_search(searcher, corpus, corpus[:0], 3, True).rows.shape == (5, 0)


@pytest.mark.parametrize("likely", [1.0, 0.4])
@pytest.mark.parametrize("distinct", [1, 3, 10**6])
def test_the_best_candidates_in_the_order_of_scores_and_rows(distinct: int, likely: float) -> None:
    random = np.random.default_rng(distinct)
    corpus = random.standard_normal((distinct, 9))[random.integers(0, distinct, 400)].astype(np.float32)
    queries, counts = some(60, 9, 4), random.integers(1, 200, 60)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    rows = np.concatenate([np.sort(random.choice(400, count, replace=False)) for count in counts])
    exact = scoring.score_pairs(queries, corpus, np.repeat(np.arange(60), counts), rows)
    for k in (1, 7, 40):
        least = exact - random.uniform(0, 0.5, len(exact))
        floors = np.array([np.sort(least[a:b])[-min(k, b - a)] for a, b in pairwise(offsets.tolist())])
        found = search.Candidates(
            offsets,
            rows,
            least,
            exact + random.uniform(0, 0.5, len(exact)),
            (least >= np.repeat(floors, counts)) | (likely == 1.0),
            np.full(60, -np.inf),
        )
        settled = search._settle(found, queries, corpus, k)
        for q, (a, b) in enumerate(pairwise(offsets.tolist())):
            order = a + np.lexsort((rows[a:b], -exact[a:b]))[:k]
            missing = k - len(order)
            assert settled.rows[q].tolist() == rows[order].tolist() + [-1] * missing
            assert settled.scores[q].tolist() == exact[order].tolist() + [-np.inf] * missing


def test_rows_that_are_not_there_are_refused() -> None:
    values = some(5, 3, 1)
    for i, j, side in (([0, 5], [0, 0], "left"), ([0, 0], [0, 5], "right"), ([-1], [0], "left"), ([0], [-1], "right")):
        with pytest.raises(IndexError, match=side):
            scoring.score_pairs(values, values, np.array(i), np.array(j))
