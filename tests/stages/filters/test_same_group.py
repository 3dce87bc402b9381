import numpy as np

from stages.filters.same_group import SameGroup
from tests.judging_world import judged, judgement, verdicts, world
from tests.stages.filters.documents import Documents
from tests.stages.filters.view import view


def test_a_group_is_dropped_by_any_positive_of_it_and_the_highest_row_is_the_evidence():
    documents = Documents(groups=[0, 0, 1, 0, -1, 2, -1])
    labels = SameGroup().label(view([0.1] * 7, documents=documents, qrels=[(0, 0, 1), (0, 3, 1), (0, 4, 1), (0, 5, 0)]))
    assert labels.drop.tolist() == [True, True, False, True, False, False, False]
    np.testing.assert_array_equal(labels.value, [3, 3, np.nan, 3, np.nan, np.nan, np.nan])
    assert np.isnan(labels.limit).all()


def test_groups_of_another_querys_positives_do_not_count_but_those_of_its_text_do():
    qrels = [(1, 0, 1), (2, 2, 1)]
    documents = Documents(groups=[0, 0, 1, 1])
    labels = SameGroup().label(view([0.1] * 4, query_hash=(7, 7, 8), documents=documents, qrels=qrels))
    assert labels.drop.tolist() == [True, True, False, False]


def test_the_groups_are_those_of_the_corpus():
    given = world(
        6,
        {0: {"positives": {0: 0.9}, "found": {1: 0.3, 2: 0.2, 3: 0.1}}},
        doc_texts={0: 101, 1: 105, 2: 109, 3: 102},  # none for 105; of the group 1 are 101 and 109, of 2 is 102
        qrels=[judgement(0, 4, 0)],
    )
    assert verdicts(judged(given, filters=(SameGroup(),))) == {(0, 1): "kept", (0, 2): "same_group", (0, 3): "kept"}
