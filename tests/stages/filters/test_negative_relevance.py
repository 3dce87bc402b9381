import numpy as np

from stages.filters.negative_relevance import NegativeRelevance
from tests.stages.filters.view import view


def test_relevance_below_0_drops_and_is_the_evidence():
    labels = NegativeRelevance().label(view([0.1] * 5, qrels=[(0, 0, 1), (0, 1, -2), (0, 2, 0), (0, 3, -1)]))
    assert labels.drop.tolist() == [False, True, False, True, False]
    np.testing.assert_array_equal(labels.value, [1, -2, 0, -1, np.nan])
    np.testing.assert_array_equal(labels.limit, np.zeros(5))


def test_the_highest_judgement_over_queries_with_the_same_text_counts():
    labels = NegativeRelevance().label(
        view([0.1] * 2, query_hash=(9, 9), qrels=[(0, 0, -1), (1, 0, 0), (0, 1, -2), (1, 1, -1)])
    )
    assert labels.drop.tolist() == [False, True]
    np.testing.assert_array_equal(labels.value, [0, -1])


def test_nothing_is_dropped_without_judgements():
    assert not NegativeRelevance().label(view([0.1, 0.2])).drop.any()
