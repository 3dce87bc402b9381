"""Every command that a page names is one that there is: its name and its options; and every table of configuration is valid.

What stands in a block of its own is run besides: README.md by tests/e2e/test_readme.py, tutorial.md, judging.md and coming-from.md by
test_docs_pages.py, looking.md by test_looking.py, sql.md by test_docs_sql.py, all in tests/e2e.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from pipeline.cli import cli
from pipeline.plan import STAGES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "data/README.md", ROOT / "benchmarks/README.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
RUN = {"README.md", "tutorial.md", "judging.md", "coming-from.md", "looking.md"}
"""Pages whose blocks of commands are run, line by line."""


def named(page: Path, program: str) -> list[str]:
    """What a page says to type of one program: lines of blocks, and inline code."""
    text = page.read_text("utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.S | re.M)
    lines = [part.strip() for block in blocks for line in block.split("\n") for part in line.split("|")]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))
    indented = re.findall(r"^    (.+)$", text, re.M)
    found = [line.partition("  ")[0].strip() for line in (*lines, *inline, *indented)]
    return [line for line in found if line.startswith(f"{program} ")]


HARDROCK = sorted({(p.relative_to(ROOT).as_posix(), line) for p in PAGES for line in named(p, "hardrock")})
MAKE = sorted({(p.relative_to(ROOT).as_posix(), line) for p in PAGES for line in named(p, "make")})


def test_the_pages_name_most_commands() -> None:
    context = click.Context(cli)
    assert {shlex.split(line)[1] for _, line in HARDROCK} >= {
        "init",
        "check",
        "show",
        "why",
        "suspects",
        "review",
        "audit",
        "diff",
        "plan",
    }
    assert len(cli.list_commands(context)) > 30


@pytest.mark.parametrize(("page", "line"), HARDROCK)
def test_a_command_has_its_name_and_its_options(page: str, line: str) -> None:
    name, *arguments = shlex.split(line.replace("…", "").replace("...", ""))[1:]
    context = click.Context(cli)
    command = cli.get_command(context, name)
    assert command is not None or name.isupper() or name.startswith("-"), f"{page}: no command {name}"
    if command is not None:
        below = click.Context(command, parent=context)
        if arguments and arguments[-1].startswith("--") and "=" not in arguments[-1]:
            arguments.append("VALUE")  # a page names an option without a value
        command.make_parser(below).parse_args(
            [a for a in arguments if not a.startswith(("[", "<"))]
        )  # raises for an unknown option


@pytest.mark.parametrize(("page", "line"), MAKE)
def test_make_has_the_target(page: str, line: str) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)) | set(STAGES)
    words = shlex.split(line)[1:]
    asked = [word for word in words if "=" not in word and not word.startswith("-") and not word.isupper()]
    assert set(asked) <= targets, page
    for word in words:
        if word.startswith("CONFIG="):
            assert (ROOT / word.partition("=")[2]).is_file() or "NAME" in word, page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_of_commands_are_on_pages_that_are_run_and_blocks_of_configuration_are_toml(page: Path) -> None:
    text = page.read_text("utf-8")
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.S | re.M):
        assert page.name in RUN or all(line.startswith("make ") for line in block.strip().split("\n")), block
    for block in re.findall(r"^```toml\n(.*?)^```", text, re.S | re.M):
        tomllib.loads(block)
