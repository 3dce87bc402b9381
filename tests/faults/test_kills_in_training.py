"""Killed at any moment inside the real training: a rerun goes on from the last whole state, and ends with the same bytes."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator

import pytest

from tests.faults.conftest import SEED, Bench, Station, made
from tests.faults.test_kills import check_station, told
from tests.faults.world import NAMES, content

NUMBER = NAMES.index("round-00/train") + 1


@pytest.fixture(scope="module")
def real() -> Iterator[Bench]:
    with made(real=True, until=NUMBER - 1) as bench:
        yield bench


@pytest.fixture(scope="module")
def station(real: Bench) -> Station:
    after = real.copy("after-train")
    ended = real.server.run(real.data, after, do="count", until=NUMBER)
    assert ended.code == 0, ended.said
    return Station(NUMBER, real.good, ended.events, content(after, NUMBER))


def states(station: Station) -> list[int]:
    """The events inside of training: all in its scratch folder."""
    return [at for at, event in enumerate(station.events, 1) if "round-00.train/scratch/" in event]


@pytest.mark.slow
def test_a_sample_of_kills_in_training(real, station):
    inside = states(station)
    assert (
        len({event.split("scratch/")[1].split("/")[0] for event in station.events if "scratch/checkpoint-" in event})
        == 3
    )
    for at in random.Random(SEED).sample(inside, 3):
        check_station(real, station, at, whole=False)


@pytest.mark.faults
def test_every_kill_in_training(real, station):
    begun, points = time.monotonic(), [(station, at, False) for at in range(1, len(station.events) + 1)]
    done = real.each(check_station, points)
    told(
        f"killed at each of {len(done)} events of a real training, {len(states(station))} of them between its steps",
        begun,
    )


def check_random(bench: Bench, station: Station, seconds: float, number: int) -> bool:
    workspace = bench.at(station)
    ended = bench.server.run(bench.data, workspace, until=NUMBER, after=seconds, number=number)
    assert ended.code in (0, -signal.SIGKILL, 128 + number), ended.said
    again = bench.server.run(bench.data, workspace, until=NUMBER)
    assert again.code == 0, again.said
    assert content(workspace, NUMBER) == station.after
    return ended.code != 0


@pytest.mark.faults
@pytest.mark.parametrize(("number", "count"), [(signal.SIGKILL, 30), (signal.SIGTERM, 10), (signal.SIGINT, 10)])
def test_signals_in_training_at_random_times(real, station, number, count):
    begun = time.monotonic()
    real.server.run(real.data, real.at(station), until=NUMBER)
    whole = time.monotonic() - begun
    chance = random.Random(SEED + number)
    stopped = real.each(check_random, [(station, chance.uniform(0, whole), int(number)) for _ in range(count)])
    told(f"{number.name}: {sum(stopped)} of {len(stopped)} trainings stopped at a random moment", begun)
