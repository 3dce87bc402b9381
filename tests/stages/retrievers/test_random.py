import numpy as np
import pytest

from stages.retrievers.random import RandomSearch


def test_a_query_s_draw_hangs_on_seed_and_row_alone():
    search = RandomSearch(3, np.array([4, 9, 20]), 50)
    rows, scores = search.search(np.array([0, 1, 2]), 6)
    for i, query in enumerate((4, 9, 20)):
        assert rows[i].tolist() == np.random.default_rng([3, query]).choice(50, 6, replace=False).tolist()
    again, _ = RandomSearch(3, np.array([9]), 50).search(np.array([0]), 6)
    assert again[0].tolist() == rows[1].tolist()
    assert (np.diff(scores, axis=1) < 0).all()
    assert RandomSearch(4, np.array([9]), 50).search(np.array([0]), 6)[0].tolist() != again.tolist()


def test_all_documents_are_drawn_once_where_more_are_asked_for():
    rows, scores = RandomSearch(0, np.array([0]), 4).search(np.array([0]), 6)
    assert sorted(rows[0].tolist()) == [-1, -1, 0, 1, 2, 3]
    assert np.isneginf(scores[0]).tolist() == [False] * 4 + [True] * 2


def test_every_document_is_as_likely():
    rows, _ = RandomSearch(0, np.arange(4_000), 10).search(np.arange(4_000), 3)
    assert np.bincount(rows.ravel(), minlength=10) / 12_000 == pytest.approx(0.1, abs=0.012)
