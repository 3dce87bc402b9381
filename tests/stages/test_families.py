"""Members of the families of formats are short files: what several share, or what is a thing of its own, stands beside them."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from stages.registry import names

MOST = 125  # lines, docstring included
MEMBERS = [(family, name) for family in ("datasets", "exporters") for name in names(family)]


@pytest.mark.parametrize(("family", "name"), MEMBERS)
def test_a_format_is_one_short_file(family: str, name: str) -> None:
    module = importlib.import_module(f"stages.{family}.{name}")
    assert module.__file__ is not None
    assert len(Path(module.__file__).read_text(encoding="utf-8").splitlines()) <= MOST
