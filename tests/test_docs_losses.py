"""docs/losses.md describes every loss, and its defaults are those of the code."""

import importlib
import json
import re
import tomllib
from pathlib import Path

import pytest

from stages.registry import Member, build, names

PAGE = (Path(__file__).parents[1] / "docs" / "losses.md").read_text(encoding="utf-8")
LOSSES = names("losses")


def sections() -> dict[str, str]:
    """The text about each loss, by its name."""
    pieces = re.split(r"^### `(\w+)`\n", PAGE, flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def test_every_loss_is_described_once_and_stands_in_the_table():
    headings = re.findall(r"^### `(\w+)`", PAGE, re.MULTILINE)
    assert len(headings) == len(set(headings))
    assert sorted(sections()) == LOSSES
    (table,) = re.findall(r"^\| Loss \| Formula.*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert sorted(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == LOSSES


@pytest.mark.parametrize("name", LOSSES)
def test_the_defaults_are_those_of_the_code(name):
    (line,) = re.findall(r"^Defaults: (.*)$", sections()[name], re.MULTILINE)
    member = getattr(importlib.import_module(f"stages.losses.{name}"), name.title().replace("_", ""))
    said = {key: json.loads(value) for key, value in re.findall(r"`(\w+) = ([^`]+)`", line)}
    said |= dict.fromkeys(re.findall(r"no `(\w+)`", line))
    defaults = {key: field.get_default(call_default_factory=True) for key, field in member.model_fields.items()}
    plain = {tuple: list, **{type(v): lambda v: v.name for v in defaults.values() if isinstance(v, Member)}}
    assert said == {key: plain.get(type(value), lambda v: v)(value) for key, value in defaults.items()}


@pytest.mark.parametrize("name", LOSSES)
def test_each_says_its_source_and_when_to_use_it(name):
    assert re.findall(r"^(\w+): ", sections()[name], re.MULTILINE) == ["Source", "Defaults", "When"]


@pytest.mark.parametrize("name", LOSSES)
def test_each_file_names_its_paper(name):
    assert re.search(r"\b20[12]\d\b", importlib.import_module(f"stages.losses.{name}").__doc__)


def test_the_configurations_on_the_page_can_be_read():
    found = []
    for block in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL):
        fields = tomllib.loads(block)["train"]["loss"]
        found.append(build("losses", fields.pop("name"), fields))
    assert [loss.name for loss in found] == ["guided", "matryoshka"]
    assert found[0].margin == 0.05
    assert (found[1].inner.name, found[1].inner.teacher_temperature) == ("kl_distillation", 0.5)
