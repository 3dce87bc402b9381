import numpy as np

from stages.samplers._choose import mixed, random_keys
from stages.samplers.random import Random
from tests import reference_judge as reference
from tests.stages.samplers.pool import pool, taken

DOCS = [(d, 0.5) for d in range(10)]


def test_splitmix64_gives_the_published_sequence():
    """The first outputs for the seed 1234567, as published with the generator's reference implementation."""
    states = np.uint64(1234567) + np.arange(3, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert mixed(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_keys_are_a_hash_of_seed_query_positive_and_document():
    given = pool([DOCS, DOCS[:2]], query=2**31 - 1)
    expected = [reference.random_key(2**63 - 1, 2**31 - 1, 100 + p, d) for p, n in ((0, 10), (1, 2)) for d in range(n)]
    assert random_keys(given, 2**63 - 1).tolist() == expected


def test_the_choice_does_not_change_with_the_order_of_rows_or_with_other_pairs():
    alone, among = pool([DOCS]), pool([DOCS[::-1], DOCS, DOCS])
    first = taken(alone, Random().choose(alone, 4, 1))[0]
    assert taken(among, Random().choose(among, 4, 1))[0] == first
    assert len(set(first)) == 4


def test_more_negatives_begin_with_the_same_ones():
    given = pool([DOCS])
    few, many = (taken(given, Random().choose(given, n, 5))[0] for n in (3, 8))
    assert many[:3] == few


def test_seeds_and_pairs_choose_differently():
    given = pool([DOCS] * 50)
    choices = {tuple(each) for seed in (0, 1) for each in taken(given, Random().choose(given, 5, seed))}
    assert len(choices) > 95


def test_every_candidate_is_as_likely():
    """20,000 draws of 3 in 10: each document's count lies within six standard deviations of 6,000."""
    given = pool([DOCS] * 20_000)
    counts = np.bincount(given.doc_row[Random().choose(given, 3, 0)], minlength=10)
    assert np.abs(counts - 6_000).max() < 6 * np.sqrt(20_000 * 0.3 * 0.7)
