"""What docs/tutorial.md, judging.md and coming-from.md tell people to type is run here."""

from __future__ import annotations

import re
import shlex
import shutil
import xml.etree.ElementTree as ET

import pytest

from pipeline.config import load
from tests.e2e.conftest import ROOT, hardrock


def commands(page: str) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs" / page).read_text("utf-8"), re.S | re.M)
    return [line for block in blocks for line in block.strip().split("\n")]


def test_the_tutorial_runs_in_its_order(tmp_path):
    shutil.copy(ROOT / "data/fixtures/kitchen.csv", tmp_path / "my-data.csv")
    for line in commands("tutorial.md"):
        hardrock(*shlex.split(line)[1:], cwd=tmp_path)
    assert (tmp_path / "data/workspaces/hardrock/report/index.html").is_file()


@pytest.mark.parametrize("line", [*commands("judging.md"), *commands("coming-from.md")])
def test_other_commands_run(project, tmp_path, line):
    shutil.copytree(project, tmp_path / "project", symlinks=True)
    hardrock(*shlex.split(line)[1:], "--workspace", "ws", cwd=tmp_path / "project")


def test_every_equivalent_is_a_setting_that_is_known(project):
    text = (ROOT / "docs/coming-from.md").read_text("utf-8")
    settings = re.findall(r"`((?:judge|mine|sample)\.[\w.]+=[^`]+)`", text)
    assert len(settings) > 8
    for setting in settings:
        load(project / "hardrock.toml", [setting])


def test_the_figure_is_drawn():
    assert ET.parse(ROOT / "docs/judging.svg").getroot().attrib["aria-label"]
