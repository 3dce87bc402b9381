"""The table "What it reads" of the README, from the data sets themselves: `python -m tests.datasets_table` writes it anew."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from stages.registry import names

PLACE = Path(__file__).parent.parent / "README.md"
BETWEEN = re.compile(r"(?<=<!-- datasets -->\n).*?(?=<!-- /datasets -->)", re.S)


def table() -> str:
    rows = []
    for name in names("datasets"):
        module = importlib.import_module(f"stages.datasets.{name}")
        first = " ".join((module.__doc__ or "").split("\n\n")[0].split()).replace("|", "\\|")
        rows.append(f"| `{name}` | {first.rstrip(':.')} |")
    return "| `name` | What it reads |\n|---|---|\n" + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PLACE.write_text(BETWEEN.sub(lambda _: table(), PLACE.read_text("utf-8")), "utf-8")
