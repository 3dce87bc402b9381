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
from tests.faults.conftest import Bench
from tests.faults.server import Ended
from tests.faults.world import content

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
    assert content(workspace) == expected
    clean(workspace)
    tidy(workspace)


def check_kill(bench: Bench, at: int) -> None:
    workspace = bench.fresh()
    assert bench.server.run(bench.data, workspace, do="kill", at=at).code == -signal.SIGKILL
    clean(workspace)
    end_well(bench, workspace, bench.expected)


@pytest.fixture(scope="module")
def other(bench) -> tuple[dict[str, str], int]:
    """The results of the other configuration, and how many events it takes to come there from the first."""
    workspace = bench.copy("other")
    ended = bench.server.run(bench.data, workspace, do="count", changes=OTHER)
    assert ended.code == 0, ended.said
    return content(workspace), len(ended.events)


def check_replacing(bench: Bench, other: tuple[dict[str, str], int], at: int, back: bool) -> None:
    """Killed while new results take the place of earlier ones; then on, or back to the first configuration."""
    workspace = bench.copy()
    assert bench.server.run(bench.data, workspace, do="kill", at=at, changes=OTHER).code == -signal.SIGKILL
    clean(workspace)
    if back:
        end_well(bench, workspace, bench.expected)
    else:
        end_well(bench, workspace, other[0], changes=OTHER)


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
    event = bench.events[at - 1]
    assert "Traceback" not in ended.said, (event, ended.said)
    if ended.code != 0:  # a line of the log may be lost, and a temporary stay: both without harm
        assert ended.code == 74, (event, ended.said)
        assert str(workspace) in ended.said
    clean(workspace)
    end_well(bench, workspace, bench.expected)


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
    for at in sample(bench, 17, 1):
        check_kill(bench, at)


def test_a_sample_of_kills_while_results_are_replaced(bench, other):
    for i, at in enumerate(range(7, other[1], other[1] // 4)):
        check_replacing(bench, other, at, back=bool(i % 2))


@pytest.mark.parametrize("names_kept", [False, True])
def test_a_sample_of_power_losses(bench, names_kept):
    for at in sample(bench, 3, 2):
        check_power(bench, at, names_kept)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_sample_of_refusals(bench, code):
    for at in sample(bench, 3, code):
        check_refusal(bench, at, code)


@pytest.mark.parametrize(
    "numbers",
    [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)],
)
def test_a_sample_of_signals(bench, numbers):
    for at in sample(bench, 1, numbers[0]):
        check_signals(bench, at, *numbers)


@pytest.mark.faults
def test_every_kill(bench):
    print(f"\nkills at each of {len(bench.events)} events")
    for at in range(1, len(bench.events) + 1):
        check_kill(bench, at)


@pytest.mark.faults
@pytest.mark.parametrize("back", [False, True])
def test_every_kill_while_results_are_replaced(bench, other, back):
    print(f"\nkills at each of {other[1]} events of another configuration")
    for at in range(1, other[1] + 1):
        check_replacing(bench, other, at, back)


@pytest.mark.faults
@pytest.mark.parametrize("names_kept", [False, True])
def test_a_hundred_power_losses(bench, names_kept):
    points = sample(bench, 100, 3)
    print(f"\npower lost at {len(points)} events, names {'kept' if names_kept else 'lost'}")
    for at in points:
        check_power(bench, at, names_kept)


@pytest.mark.faults
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_every_refusal(bench, code):
    print(f"\n{errno.errorcode[code]} at each of {len(bench.events)} events")
    for at in range(1, len(bench.events) + 1):
        check_refusal(bench, at, code)


@pytest.mark.faults
@pytest.mark.parametrize(("number", "count"), [(signal.SIGKILL, 100), (signal.SIGTERM, 20), (signal.SIGINT, 20)])
def test_signals_from_outside_at_random_times(bench, number, count):
    started = time.monotonic()
    bench.server.run(bench.data, bench.fresh())
    whole = time.monotonic() - started
    chance = random.Random(int(number))
    stopped = sum(check_random(bench, chance.uniform(0.05, whole), number) for _ in range(count))
    print(f"\n{number.name}: {stopped} of {count} runs stopped at a random moment")


@pytest.mark.faults
def test_two_signals_at_every_tenth_event(bench):
    points = range(1, len(bench.events) + 1, 10)
    print(f"\ntwo signals at each of {len(points)} events")
    for at in points:
        check_signals(bench, at, signal.SIGTERM, signal.SIGINT)
