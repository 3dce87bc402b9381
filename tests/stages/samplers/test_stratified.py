import numpy as np

from stages.samplers.random import Random
from stages.samplers.stratified import Stratified
from tests.stages.samplers.distribution import alike
from tests.stages.samplers.pool import pool, taken

TWELVE = [(d, 1 - d / 100) for d in range(12)]


def test_bands_take_turns_the_hardest_first():
    given = pool([TWELVE[::-1]] * 40)
    for docs in taken(given, Stratified(bands=3).choose(given, 7, 2)):
        assert [d // 4 for d in docs] == [0, 1, 2, 0, 1, 2, 0]


def test_a_band_that_is_used_up_is_skipped():
    given = pool([TWELVE[:5]])
    docs = taken(given, Stratified(bands=4).choose(given, 9, 0))[0]
    assert sorted(docs) == [0, 1, 2, 3, 4]
    assert [d * 4 // 5 for d in docs] == [0, 1, 2, 3, 0]


def test_fewer_negatives_than_bands_still_reach_from_the_hardest_to_the_easiest():
    given = pool([TWELVE] * 20)
    for docs in taken(given, Stratified(bands=6).choose(given, 2, 1)):
        assert [d // 6 for d in docs] == [0, 1]


def test_one_band_is_a_uniform_choice():
    given = pool([TWELVE] * 3)
    for seed in range(3):
        assert taken(given, Stratified(bands=1).choose(given, 4, seed)) == taken(given, Random().choose(given, 4, seed))


def test_within_a_band_every_candidate_is_as_likely():
    given = alike(TWELVE, 20_000)
    counts = np.bincount(given.doc_row[Stratified(bands=4).choose(given, 4, 0)], minlength=12)
    assert np.abs(counts - 20_000 / 3).max() < 6 * np.sqrt(20_000 * 2 / 9)


def test_equal_scores_are_cut_by_row_and_pairs_without_candidates_give_nothing():
    given = pool([[(d, 0.5) for d in (7, 1, 5, 3)], []])
    first, second = taken(given, Stratified(bands=2).choose(given, 2, 0))
    assert first[0] in (1, 3)
    assert first[1] in (5, 7)
    assert second == []
