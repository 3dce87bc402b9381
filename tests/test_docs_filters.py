"""docs/filters.md describes every filter and sampler, and its defaults are those of the code."""

import importlib
import json
import re
import tomllib
from pathlib import Path

import pytest

from stages import judge, sample
from stages.registry import names
from stages.settings import parse

PAGE = (Path(__file__).parents[1] / "docs" / "filters.md").read_text(encoding="utf-8")


def sections(title: str) -> dict[str, str]:
    """The text about each member of a family, by its name."""
    (chapter,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    pieces = re.split(r"^### `(\w+)`\n", chapter, flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


@pytest.mark.parametrize("family", ["filters", "samplers"])
def test_every_member_is_described_once(family):
    headings = re.findall(r"^### `(\w+)`", PAGE, re.MULTILINE)
    assert len(headings) == len(set(headings))
    assert sorted(sections(family.capitalize())) == names(family)


@pytest.mark.parametrize(("family", "name"), [(f, n) for f in ("filters", "samplers") for n in names(f)])
def test_the_defaults_are_those_of_the_code(family, name):
    text = sections(family.capitalize())[name]
    (line,) = re.findall(r"^Defaults: (.*)$", text, re.MULTILINE)
    module = importlib.import_module(f"stages.{family}.{name}")
    member = getattr(module, "".join(word.capitalize() for word in name.split("_")))
    said = {key: json.loads(value) for key, value in re.findall(r"`(\w+) = ([^`]+)`", line)}
    said |= dict.fromkeys(re.findall(r"no `(\w+)`", line))
    defaults = {key: field.default for key, field in member.model_fields.items()}
    assert said == {key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()}
    assert (line == "none.") == (not member.model_fields)


@pytest.mark.parametrize(("family", "name"), [(f, n) for f in ("filters", "samplers") for n in names(f)])
def test_each_says_its_source_and_when_to_use_it(family, name):
    assert re.findall(r"^(\w+): ", sections(family.capitalize())[name], re.MULTILINE) == ["Source", "Defaults", "When"]


def test_the_configuration_on_the_page_can_be_read():
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    tables = tomllib.loads(block)
    assert [rule.name for rule in parse(judge.JudgeConfig, tables["judge"], "judge").filters] == [
        "known_positive", "shift", "relative_margin",
    ]  # fmt: skip
    assert parse(sample.SampleConfig, tables["sample"], "sample").sampler.name == "softmax"
