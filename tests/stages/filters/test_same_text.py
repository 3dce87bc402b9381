import numpy as np

from stages.filters.same_text import SameText
from tests.stages.filters.view import view


def test_the_query_itself_and_the_whole_group_of_a_positive_are_dropped():
    labels = SameText().label(
        view([0.1] * 6, query_hash=(70,), doc_hash=(70, 5, 5, 5, 6, 6), qrels=[(0, 2, 1), (0, 3, 1), (0, 4, 0)])
    )
    assert labels.drop.tolist() == [True, True, True, True, False, False]
    np.testing.assert_array_equal(labels.value, [-1, 3, 3, 3, np.nan, np.nan])
    assert np.isnan(labels.limit).all()


def test_positives_of_queries_with_the_same_text_count_and_those_of_others_do_not():
    qrels = [(1, 0, 1), (2, 2, 1)]
    labels = SameText().label(view([0.1] * 4, query_hash=(7, 7, 8), doc_hash=(5, 5, 6, 6), qrels=qrels))
    assert labels.drop.tolist() == [True, True, False, False]


def test_hashes_of_all_64_bits_are_told_apart():
    labels = SameText().label(
        view([0.1] * 3, query_hash=(-(2**63),), doc_hash=(2**63 - 1, 2**63 - 2, -(2**63)), qrels=[(0, 0, 1)])
    )
    assert labels.drop.tolist() == [True, False, True]
