import numpy as np

from stages.filters.near_duplicate_semantic import NearDuplicateSemantic
from tests.stages.filters.documents import Documents
from tests.stages.filters.view import view

VECTORS = [[1, 0], [0.95, 0.3], [0.9375, 0.3], [0, 1], [0.3, 0.96]]


def test_what_reaches_the_threshold_with_any_positive_is_dropped():
    documents = Documents(vectors=VECTORS)
    labels = NearDuplicateSemantic(threshold=0.9375).label(
        view([0.1] * 5, qrels=[(0, 0, 1), (0, 3, 1)], documents=documents)
    )
    assert labels.drop.tolist() == [True, True, True, True, True]
    np.testing.assert_allclose(labels.value, [1, 0.95, 0.9375, 1, 0.96], rtol=1e-6)
    above = NearDuplicateSemantic(threshold=np.nextafter(0.9375, 1)).label(
        view([0.1] * 5, qrels=[(0, 0, 1), (0, 3, 1)], documents=documents)
    )
    assert above.drop.tolist() == [True, True, False, True, True]


def test_a_query_without_positives_has_nothing_to_be_near_to():
    documents = Documents(vectors=VECTORS)
    labels = NearDuplicateSemantic().label(view([0.1] * 5, qrels=[(0, 1, 0)], documents=documents))
    assert not labels.drop.any()
    assert np.isnan(labels.value).all()
    assert documents.read == []


def test_a_similarity_that_is_not_a_number_drops():
    vectors = [[1, 0], [np.nan, 0], [0, 1]]
    labels = NearDuplicateSemantic().label(view([0.1] * 3, qrels=[(0, 0, 1)], documents=Documents(vectors=vectors)))
    assert labels.drop.tolist() == [True, True, False]


def test_only_the_documents_of_the_part_are_read_whatever_the_block(monkeypatch):
    vectors = np.random.default_rng(1).standard_normal((50, 3))
    documents = Documents(vectors=vectors)
    given = view([0.1] * 30, qrels=[(0, 40, 1), (0, 45, 2)], doc_hash=range(50), documents=documents)
    whole = NearDuplicateSemantic(threshold=0.5).label(given)
    assert sorted(set(documents.read)) == [*range(30), 40, 45]
    monkeypatch.setattr("stages.filters._near.BLOCK", 7)
    parts = NearDuplicateSemantic(threshold=0.5).label(given)
    np.testing.assert_array_equal(whole.value, parts.value)
    expected = (vectors[:30] @ vectors[[40, 45]].T).max(axis=1)
    np.testing.assert_allclose(whole.value, expected, rtol=1e-5)
