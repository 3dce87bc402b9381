import numpy as np

from stages.filters.duplicate_candidate import DuplicateCandidate
from tests.judging_world import judged, kept, verdicts, world
from tests.stages.filters.view import view


def test_the_best_ranked_of_a_text_passes_and_the_others_name_it():
    labels = DuplicateCandidate().label(view([0.9, 0.8, 0.8, 0.7, 0.6], doc_hash=(5, 6, 5, 5, 6)))
    assert labels.drop.tolist() == [False, False, True, True, True]
    np.testing.assert_array_equal(labels.value, [np.nan, np.nan, 0, 0, 1])


def test_texts_of_other_queries_do_not_count():
    given = world(
        6,
        {0: {"positives": {0: 0.9}, "found": {1: 0.4, 2: 0.3}}, 1: {"positives": {3: 0.9}, "found": {2: 0.4, 4: 0.3}}},
        doc_texts={1: 7, 2: 7, 4: 8},
    )
    found = verdicts(judged(given, filters=(DuplicateCandidate(),)))
    assert found == {(0, 1): "kept", (0, 2): "duplicate_candidate", (1, 2): "kept", (1, 4): "kept"}


def test_held_against_each_positive_apart_the_best_ranked_passes_for_each():
    given = world(6, {0: {"positives": {0: 0.9, 5: 0.8}, "found": {1: 0.4, 2: 0.3}}}, doc_texts={1: 7, 2: 7})
    result = judged(given, filters=(DuplicateCandidate(),), comparison="per_positive")
    assert kept(result) == {(0, 0, 1), (0, 5, 1)}
