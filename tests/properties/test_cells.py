"""Any division of the corpus, any order of merging and any repetition give the one search over all."""

from __future__ import annotations

import random
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import mine
from stages.cells import Best, merge, search
from stages.errors import ConfigError
from stages.indexes.exact import Exact
from stages.indexes.flat import Flat
from stages.mine import MineConfig
from stages.scoring import score_pairs
from stages.search import Corpus
from tests.stages.test_mine import inputs_for, integers
from tests.support import run


def flat(queries: np.ndarray, corpus: np.ndarray, documents: np.ndarray, k: int) -> Best:
    """The k best of some documents by (-score, row), in plain Python over float64 scores."""
    found = []
    for query in queries.astype(np.float64):
        scores = {int(row): float(corpus[row].astype(np.float64) @ query) for row in documents}
        found.append(sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:k])
    rows = np.full((len(queries), k), -1, dtype=np.int32)
    scores = np.full((len(queries), k), -np.inf)
    for i, hits in enumerate(found):
        rows[i, : len(hits)] = [row for row, _ in hits]
        scores[i, : len(hits)] = [score for _, score in hits]
    return Best(rows, scores)


def same(one: Best, other: Best) -> None:
    np.testing.assert_array_equal(one.rows, other.rows)
    np.testing.assert_array_equal(one.scores, other.scores)


@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 8), st.integers(0, 2**32 - 1), st.booleans())
def test_any_partition_in_any_order(documents, k, parts, seed, narrow):
    """Documents are dealt out at random, cells may be empty, and are merged in random groups of random order."""
    queries = integers(4, 3, seed % 1000, -1, 2)
    corpus = integers(documents, 3, seed % 997, *((-1, 2) if narrow else (-9, 10)))  # a narrow range has many ties
    chance = random.Random(seed)
    owner = np.array([chance.randrange(parts) for _ in range(documents)])
    cells = [flat(queries, corpus, np.flatnonzero(owner == part), k) for part in range(parts)]
    cells += chance.sample(cells, chance.randrange(2))  # one may come twice
    while len(cells) > 1:
        chance.shuffle(cells)
        take = chance.randint(2, len(cells))
        cells = [merge(cells[:take], k), *cells[take:]]
    same(merge(cells, k), flat(queries, corpus, np.arange(documents), k))


@given(st.integers(0, 2**32 - 1))
def test_merging_is_associative_and_commutative(seed):
    queries, corpus = integers(3, 2, seed % 1000), integers(30, 2, seed % 997)
    a, b, c = (
        flat(queries, corpus, rows, 5) for rows in np.array_split(np.random.default_rng(seed).permutation(30), 3)
    )
    left, right = merge([merge([a, b], 5), c], 5), merge([a, merge([c, b], 5)], 5)
    same(left, right)
    same(left, merge([c, a, b], 5))
    same(left, reduce(lambda x, y: merge([y, x], 5), [a, b, c, b, a]))


def test_a_part_may_give_less_than_it_is_asked_for_when_it_has_no_more():
    one = Best(np.array([[3, -1]]), np.array([[1.0, -np.inf]]))
    other = Best(np.array([[7]]), np.array([[1.0]]))
    same(merge([other, one], 4), Best(np.array([[3, 7, -1, -1]]), np.array([[1.0, 1.0, -np.inf, -np.inf]])))


@pytest.mark.parametrize("size", [1, 7, 64, 150, 151, 1000])
def test_a_search_in_cells_is_the_search_over_all(size):
    generator = np.random.default_rng(size)
    vectors = np.concatenate([generator.standard_normal((75, 16)), integers(75, 16, 3), np.zeros((1, 16))])
    vectors = vectors.astype(np.float32)
    queries = generator.standard_normal((9, 16)).astype(np.float32)
    corpus = Corpus(vectors, Exact(kernel="fp32").build([vectors], *vectors.shape), True, None)
    for depth in (1, 10, 151, 200):
        whole, cells = corpus.search(queries, depth), search(corpus, queries, depth, size)
        np.testing.assert_array_equal(whole.rows, cells.rows)
        np.testing.assert_array_equal(whole.scores, cells.scores)
        assert (whole.counts, whole.rows.dtype) == (cells.counts, cells.rows.dtype)
    i, j = np.divmod(np.arange(9 * 10), 10)
    np.testing.assert_array_equal(score_pairs(queries, vectors, i, cells.rows[i, j]), cells.scores[i, j])


@pytest.mark.parametrize("size", [13, 64])
def test_mining_in_cells_gives_the_same_tables_counters_and_facts(tmp_path: Path, size: int) -> None:
    q, c = integers(12, 6, 1), np.concatenate([integers(100, 6, 2), integers(100, 6, 2)])
    triples = [(query, (17 * query) % 200, 1) for query in range(12)]
    inputs: dict[str, Any] = inputs_for(q, c, triples, tmp_path)
    whole, cells = (
        run(mine, MineConfig(depth=20, shard_queries=5, cell_documents=cell), inputs, tmp_path) for cell in (None, size)
    )
    assert all(whole[name].equals(cells[name]) for name in ("candidates", "positives"))
    assert (whole.counters, whole.facts) == (cells.counters, cells.facts)
    assert MineConfig().semantic() == MineConfig(cell_documents=size).semantic()


def test_an_index_that_is_one_whole_says_so(tmp_path: Path) -> None:
    inputs = inputs_for(integers(2, 4, 1), integers(9, 4, 2), [(0, 1, 1)], tmp_path, kind=Flat())
    with pytest.raises(ConfigError, match="cells"):
        run(mine, MineConfig(cell_documents=4), inputs, tmp_path)
