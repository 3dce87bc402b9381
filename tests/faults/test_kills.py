"""Killed, unplugged, refused and asked to stop at any moment: nothing partial is ever shown, and a rerun ends the same."""

from __future__ import annotations

import errno
import random
import signal
import time
from pathlib import Path

import pytest

from pipeline.store import Workspace
from pipeline.verify import faults
from tests.faults.conftest import SEED, Bench, Station
from tests.faults.server import Ended
from tests.faults.world import NAMES, content

OTHER = {"judge": {"filters": {"known_positive": {}, "rank_window": {"max": 6}}}}
"""Another configuration: judge and what follows have an earlier result that steps aside."""


def clean(workspace: Path) -> None:
    """Every folder under a final name is whole."""
    if workspace.is_dir():
        assert [str(fault) for fault in faults(Workspace(workspace))[2]] == []


def tidy(workspace: Path) -> None:
    """No temporary is left."""
    left = [p for p in workspace.rglob("*") if p.name.endswith((".tmp", ".old")) or p.name.startswith(".catalog")]
    assert left == []
    assert list((workspace / ".building").iterdir()) == []
    assert (workspace / "catalog.duckdb").is_file()


def end_well(bench: Bench, workspace: Path, expected: dict[str, str], **what) -> None:
    """Whatever was done to it, a rerun ends as an undisturbed run does."""
    ended = bench.server.run(bench.data, workspace, **what)
    assert ended.code == 0, ended.said
    assert content(workspace, what.get("until")) == expected
    clean(workspace)
    tidy(workspace)


def check_kill(bench: Bench, at: int) -> None:
    """Killed in a run from the start, then run to the end."""
    workspace = bench.fresh()
    assert bench.server.run(bench.data, workspace, do="kill", at=at).code == -signal.SIGKILL
    clean(workspace)
    end_well(bench, workspace, bench.expected)


def check_station(bench: Bench, station: Station, at: int, whole: bool) -> bool:
    """Killed at an event of one node, where those before it are there. Then that node again, or with `whole` all to the end.

    What is there after the node is what was there without the kill, byte by byte, so the rest would end the same.
    """
    workspace = bench.at(station)
    ended = bench.server.run(bench.data, workspace, do="kill", at=at, until=station.number)
    assert ended.code == -signal.SIGKILL, ended.said
    clean(workspace)
    go_on(bench, workspace, station, whole)
    return whole


def go_on(bench: Bench, workspace: Path, station: Station, whole: bool) -> None:
    if whole:
        end_well(bench, workspace, bench.expected)
    else:
        end_well(bench, workspace, station.after, until=station.number)


@pytest.fixture(scope="module")
def stations(bench) -> list[Station]:
    found = bench.stations("station", None)
    assert found[-1].after == bench.expected
    return found


@pytest.fixture(scope="module")
def turns(bench, other) -> list[Station]:
    """As `stations`, on the way from the first configuration to the other one."""
    found = bench.stations("turn", bench.good, changes=OTHER)
    assert found[-1].after == other[0]
    return [station for station in found if len(station.events) > len(found[0].events)]


def points(stations: list[Station]) -> list[tuple[Station, int, bool]]:
    """Every event of every station; the seed draws which tenth of them goes on to the end of the whole run."""
    chance = random.Random(SEED)
    return [(station, at, chance.random() < 0.1) for station in stations for at in range(1, len(station.events) + 1)]


@pytest.fixture(scope="module")
def other(bench) -> tuple[dict[str, str], int]:
    """The results of the other configuration, and how many events it takes to come there from the first."""
    workspace = bench.copy("other")
    ended = bench.server.run(bench.data, workspace, do="count", changes=OTHER)
    assert ended.code == 0, ended.said
    return content(workspace), len(ended.events)


def check_old_or_new(workspace: Path, old: dict[str, str], new: dict[str, str]) -> None:
    """Each result is the earlier one or the new one, and all of it; while the two change places it may be neither, for a rename."""
    there = content(workspace)
    absent = 0
    for name in NAMES:
        found, earlier, later = ({f: s for f, s in of.items() if f.startswith(f"{name}/")} for of in (there, old, new))
        assert found in ({}, earlier, later), name
        absent += bool(earlier) and not found
    assert absent <= 1
    assert set(there) <= set(old) | set(new)


def check_replacing(bench: Bench, other: tuple[dict[str, str], int], at: int, back: bool) -> None:
    """Killed while new results take the place of earlier ones; then on, or back to the first configuration."""
    workspace = bench.copy()
    assert bench.server.run(bench.data, workspace, do="kill", at=at, changes=OTHER).code == -signal.SIGKILL
    clean(workspace)
    check_old_or_new(workspace, bench.expected, other[0])
    if back:
        end_well(bench, workspace, bench.expected)
    else:
        end_well(bench, workspace, other[0], changes=OTHER)


def check_turn(bench: Bench, station: Station, at: int, back: bool) -> None:
    """As `check_replacing`, from the node before."""
    workspace = bench.at(station)
    ended = bench.server.run(bench.data, workspace, do="kill", at=at, until=station.number, changes=OTHER)
    assert ended.code == -signal.SIGKILL, ended.said
    clean(workspace)
    check_old_or_new(workspace, bench.expected, station.after)
    if back:
        end_well(bench, workspace, bench.until(station.number), until=station.number)
    else:
        end_well(bench, workspace, station.after, changes=OTHER, until=station.number)


def check_power(bench: Bench, at: int, names_kept: bool) -> None:
    workspace, image = bench.fresh(), bench.fresh("image")
    bench.fresh("image.shadow")
    ended = bench.server.run(bench.data, workspace, do="power", at=at, image=str(image), names_kept=names_kept)
    assert ended.code == -signal.SIGKILL, ended.said
    clean(image)
    end_well(bench, image, bench.expected)


def check_refusal(bench: Bench, at: int, code: int) -> None:
    workspace = bench.fresh()
    ended = bench.server.run(bench.data, workspace, do="refuse", at=at, errno=code)
    check_refused(ended, bench.events[at - 1], workspace)
    end_well(bench, workspace, bench.expected)


def check_refused_station(bench: Bench, station: Station, at: int, whole: bool, code: int) -> bool:
    """As `check_refusal`, from the node before. True when it stopped the run."""
    workspace = bench.at(station)
    ended = bench.server.run(bench.data, workspace, do="refuse", at=at, errno=code, until=station.number)
    check_refused(ended, station.events[at - 1], workspace)
    go_on(bench, workspace, station, whole)
    return ended.code != 0


def check_refused(ended: Ended, event: str, workspace: Path) -> None:
    assert "Traceback" not in ended.said, (event, ended.said)
    if ended.code != 0:  # a line of the log may be lost, and a temporary stay: both without harm
        assert ended.code == 74, (event, ended.said)
        assert str(workspace) in ended.said, (event, ended.said)
    clean(workspace)


def check_signals(bench: Bench, at: int, *numbers: int) -> None:
    workspace = bench.fresh()
    ended = bench.server.run(bench.data, workspace, do="signal", at=at, signals=numbers)
    check_stopped(ended, numbers[0])
    clean(workspace)
    end_well(bench, workspace, bench.expected)


def check_stopped(ended: Ended, number: int) -> None:
    assert ended.code == 128 + number, ended.said
    assert "Traceback" not in ended.said
    assert "Go on with: hardrock run" in ended.said


def check_random(bench: Bench, seconds: float, number: int) -> bool:
    """A signal from outside at a moment of its own. False when the run had ended before."""
    workspace = bench.fresh()
    ended = bench.server.run(bench.data, workspace, after=seconds, number=int(number))
    clean(workspace)
    end_well(bench, workspace, bench.expected)
    return ended.code != 0


def sample(bench: Bench, count: int, seed: int) -> list[int]:
    """Events in equal distances, from a start that the seed draws."""
    start = random.Random(seed).random()
    return sorted({1 + int((i + start) * len(bench.events) / count) for i in range(count)})


def test_a_sample_of_kills(bench):
    for at in sample(bench, 17, SEED):
        check_kill(bench, at)


def test_a_sample_of_kills_while_results_are_replaced(bench, other):
    for i, at in enumerate(range(7, other[1], other[1] // 4)):
        check_replacing(bench, other, at, back=bool(i % 2))


@pytest.mark.parametrize("names_kept", [False, True])
def test_a_sample_of_power_losses(bench, names_kept):
    for at in sample(bench, 3, SEED + 1):
        check_power(bench, at, names_kept)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_sample_of_refusals(bench, code):
    for at in sample(bench, 3, SEED + code):
        check_refusal(bench, at, code)


@pytest.mark.parametrize(
    "numbers",
    [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)],
)
def test_a_sample_of_signals(bench, numbers):
    for at in sample(bench, 1, numbers[0]):
        check_signals(bench, at, *numbers)


def told(says: str, begun: float) -> None:
    print(f"\n{says}, in {(time.monotonic() - begun) / 60:.1f} minutes", flush=True)


@pytest.mark.faults
def test_every_kill(bench, stations):
    begun = time.monotonic()
    ends = bench.each(check_station, points(stations))
    told(f"killed at each of {len(ends)} events of {len(stations)} nodes, {sum(ends)} of them to the end of all", begun)


@pytest.mark.faults
@pytest.mark.parametrize("back", [False, True])
def test_every_kill_while_results_are_replaced(bench, turns, back):
    begun = time.monotonic()
    done = bench.each(check_turn, [(station, at, back) for station, at, _ in points(turns)])
    told(f"killed at each of {len(done)} events of another configuration, then {'back' if back else 'on'}", begun)


@pytest.mark.faults
def test_a_hundred_kills_of_whole_runs(bench):
    begun = time.monotonic()
    done = bench.each(check_kill, [(at,) for at in sample(bench, 100, SEED)])
    told(f"killed at {len(done)} of {len(bench.events)} events of whole runs", begun)


@pytest.mark.faults
@pytest.mark.parametrize("names_kept", [False, True])
def test_a_hundred_power_losses(bench, names_kept):
    begun = time.monotonic()
    done = bench.each(check_power, [(at, names_kept) for at in sample(bench, 100, SEED + 2)])
    told(f"power lost at {len(done)} events, names {'kept' if names_kept else 'lost'}", begun)


@pytest.mark.faults
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_every_refusal(bench, stations, code):
    begun = time.monotonic()
    stopped = bench.each(check_refused_station, [(*point, code) for point in points(stations)])
    says = f"{errno.errorcode[code]} at each of {len(stopped)} events"
    told(f"{says}, {sum(stopped)} stopped the run and the others lost a line of the log or a lock's text", begun)


@pytest.mark.faults
@pytest.mark.parametrize(("number", "count"), [(signal.SIGKILL, 100), (signal.SIGTERM, 20), (signal.SIGINT, 20)])
def test_signals_from_outside_at_random_times(bench, number, count):
    begun = time.monotonic()
    bench.server.run(bench.data, bench.fresh())
    whole = time.monotonic() - begun
    chance = random.Random(SEED + int(number))
    stopped = bench.each(check_random, [(chance.uniform(0.02, whole), number) for _ in range(count)])
    told(f"{number.name}: {sum(stopped)} of {len(stopped)} runs stopped at a random moment", begun)


@pytest.mark.faults
def test_two_signals_at_every_tenth_event(bench):
    begun = time.monotonic()
    done = bench.each(
        check_signals,
        [(at, signal.SIGTERM, signal.SIGINT) for at in range(1 + SEED % 10, len(bench.events) + 1, 10)],
    )
    told(f"two signals at each of {len(done)} events", begun)
