"""Bad input from outside, through the command line: the promised message or result, no traceback, and nothing half done."""

from __future__ import annotations

import pytest

from tests.faults import world
from tests.faults.bad_input import ALL
from tests.faults.conftest import Bench
from tests.faults.nasty import BAD, CONFIGURATION, Ends
from tests.faults.server import Ended
from tests.faults.test_kills import clean


def command(bench: Bench, name: str, workspace: str | None = None) -> Ended:
    folder = bench.folder / "nasty"
    arguments = [
        name,
        "--config",
        str(folder / "hardrock.toml"),
        "--workspace",
        workspace or str(folder / "ws"),
        "--device",
        "cpu",
    ]
    return bench.server.run(bench.data, folder / "ws", command=arguments)


def written(bench: Bench) -> None:
    folder = bench.fresh("nasty")
    world.write_data(folder / "data")
    (folder / "hardrock.toml").write_text(CONFIGURATION.format(data=folder / "data"))


def check(ended: Ended, ends: Ends) -> None:
    code, says = ends
    assert "Traceback" not in ended.said
    assert ended.code == code, ended.said
    assert len(ended.said) < 3_000
    for piece in says:
        assert piece in ended.said, ended.said


def test_there_are_more_than_forty():
    assert len(BAD) > 40
    print(f"\n{len(BAD)} bad inputs of the command line, {ALL} of the readers")


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_each_ends_as_it_should(bench, name):
    change, ends = BAD[name]
    written(bench)
    change(bench.folder / "nasty")
    check(command(bench, "ingest"), ends)
    workspace = bench.folder / "nasty/ws"
    assert (workspace / "ingest/manifest.json").is_file() == (ends[0] == 0)
    if ends[0] == 0:
        clean(workspace)


@pytest.mark.parametrize("place", ["w/" * 5000, "w" * 300, "/proc/self/ws", "/dev/null", "/dev/full/x"])
def test_a_workspace_where_none_can_be_is_refused(bench, place):
    written(bench)
    full = place if place[0] == "/" else str(bench.folder / "nasty" / place)
    check(command(bench, "ingest", full), (74, ("a path 4,096" if len(place) > 200 else full,)))
