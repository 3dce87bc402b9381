"""What holds for every sampler of the family."""

import numpy as np
import pytest

from stages.registry import build, names
from tests.judging_world import SAMPLERS
from tests.stages.samplers.distribution import alike
from tests.stages.samplers.pool import pool, taken

ROWS = [(d, round(0.9 - d / 40, 6)) for d in range(10)]
SEEDED = sorted(set(names("samplers")) - {"top", "first"})


def test_the_shared_tests_know_every_sampler():
    assert sorted(each["name"] for each in SAMPLERS) == names("samplers")


@pytest.mark.parametrize("name", names("samplers"))
def test_a_pair_s_choice_hangs_on_its_own_rows_alone(name):
    """Not on the order of the rows, nor on the pairs before and after it."""
    sampler = build("samplers", name, {})
    alone, among = pool([ROWS]), pool([ROWS[::-1], ROWS[:3], ROWS])
    if name in ("log_random", "first"):
        among.rank[:10] = np.arange(10, 0, -1)
    first = taken(alone, sampler.choose(alone, 4, 1))[0]
    assert taken(among, sampler.choose(among, 4, 1))[0] == first
    assert len(set(first)) == 4


@pytest.mark.parametrize("name", SEEDED)
def test_the_same_seed_gives_the_same_choice_and_another_seed_another(name):
    sampler, given = build("samplers", name, {}), alike(ROWS, 50)
    one, same, other = (sampler.choose(given, 4, seed).tolist() for seed in (7, 7, 8))
    assert one == same
    assert one != other
    assert len({tuple(each) for each in taken(given, one)}) > 25


@pytest.mark.parametrize("name", names("samplers"))
def test_empty_pools_and_single_candidates(name):
    sampler = build("samplers", name, {})
    assert sampler.choose(pool([]), 3, 0).tolist() == []
    given = pool([[], [(4, 0.5)], []])
    assert taken(given, sampler.choose(given, 3, 0)) == [[], [4], []]
