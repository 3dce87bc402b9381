"""docs/formats.md is what its tables say, and they are complete: every reader, every target, every rule, and tests that there are."""

from __future__ import annotations

import re

import pytest

from stages.registry import names
from tests.formats_table import INPUT_TRAPS, INPUTS, OUTPUTS, PLACE, RULES, page

TESTS = {
    name
    for path in PLACE.parents[1].joinpath("tests").rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.M)
}


def test_the_page_of_formats_is_up_to_date():
    assert PLACE.read_text("utf-8") == page(), "python -m tests.formats_table"


@pytest.mark.parametrize(("family", "table"), [("datasets", INPUTS), ("exporters", OUTPUTS)])
def test_every_member_has_its_line_and_no_line_names_another(family, table):
    named = [name for line in table for name in line.by]
    assert sorted(named) == names(family)


def test_every_rule_is_there_in_order():
    assert list(RULES) == [f"R{number}" for number in range(1, 12)]


@pytest.mark.parametrize("line", [*INPUTS, *OUTPUTS, *RULES.values()], ids=lambda line: line.what[:40])
def test_every_test_that_is_named_is_there(line):
    assert line.tests
    assert set(line.tests) <= TESTS


@pytest.mark.parametrize("trap", INPUT_TRAPS)
def test_every_trap_of_what_is_read_has_tests_that_are_there(trap):
    assert INPUT_TRAPS[trap]
    assert set(INPUT_TRAPS[trap]) <= TESTS
