import numpy as np

from stages.filters.known_positive import KnownPositive
from tests.stages.filters.view import view


def test_relevance_above_0_drops_and_is_the_evidence():
    labels = KnownPositive().label(view([0.1] * 5, qrels=[(0, 0, 1), (0, 1, 3), (0, 2, 0), (0, 3, -1)]))
    assert labels.drop.tolist() == [True, True, False, False, False]
    np.testing.assert_array_equal(labels.value, [1, 3, 0, -1, np.nan])
    np.testing.assert_array_equal(labels.limit, np.zeros(5))


def test_the_highest_judgement_over_queries_with_the_same_text_counts():
    qrels = [(0, 0, 0), (1, 0, 2), (2, 0, 0), (2, 1, 5), (0, 2, -1), (1, 2, 0)]
    labels = KnownPositive().label(view([0.1] * 3, query_hash=(9, 9, 8), qrels=qrels))
    assert labels.drop.tolist() == [True, False, False]
    np.testing.assert_array_equal(labels.value, [2, np.nan, 0])


def test_nothing_is_dropped_without_judgements():
    assert not KnownPositive().label(view([0.1, 0.2])).drop.any()
