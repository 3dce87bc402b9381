"""A workspace at a path of any spelling works or is refused at once; links in it lead nothing out of it."""

from __future__ import annotations

import pytest

from tests.faults import world


@pytest.mark.parametrize("name", ["a#b", "a*b", "a[1]b", "a%20b", "a;b'c\"d", "ä b", "-a", "$HOME", "{a,b}", "a\nb"])
def test_a_workspace_at_an_odd_path_works(bench, name):
    workspace = bench.fresh("odd") / name
    (workspace.parent / "ab").mkdir(parents=True)  # what a pattern would match
    ended = bench.server.run(bench.data, workspace)
    assert ended.code == 0, ended.said
    assert world.content(workspace) == bench.expected
    assert bench.server.run(bench.data, workspace).said.count("all fresh") == 1
    assert list((workspace.parent / "ab").iterdir()) == []


@pytest.mark.parametrize(("name", "says"), [("a?b", "question mark"), ("a\\b", "backslash"), ("a\udcffb", "not UTF-8")])
def test_a_workspace_whose_path_no_catalog_can_have_is_refused_at_once(bench, name, says):
    workspace = bench.fresh("odd") / name
    ended = bench.server.run(bench.data, workspace)
    assert ended.code == 2, ended.said
    assert says in ended.said
    assert "use a workspace at another path" in ended.said
    assert not workspace.exists()


@pytest.mark.parametrize("there", [True, False])
def test_the_log_follows_no_link(bench, there):
    workspace, victim = bench.copy(), bench.fresh("victim")
    victim.unlink(missing_ok=True)
    if there:
        victim.write_text("mine")
    log = workspace / "logs/hardrock.log"
    log.unlink()
    log.symlink_to(victim)
    ended = bench.server.run(bench.data, workspace)
    assert ended.code == 74, ended.said
    assert str(log) in ended.said
    assert "Traceback" not in ended.said
    assert (victim.read_text() if there else victim.exists()) == ("mine" if there else False)
    victim.unlink(missing_ok=True)


def test_the_folder_of_the_log_is_no_link(bench):
    workspace, victim = bench.copy(), bench.fresh("victim")
    victim.mkdir()
    (workspace / "logs/hardrock.log").unlink()
    (workspace / "logs").rmdir()
    (workspace / "logs").symlink_to(victim)
    ended = bench.server.run(bench.data, workspace)
    assert ended.code == 74, ended.said
    assert list(victim.iterdir()) == []
