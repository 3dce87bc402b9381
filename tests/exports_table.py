"""The table of docs/exports.md, from the exporters themselves: `python -m tests.exports_table` writes it anew."""

from __future__ import annotations

import importlib
from pathlib import Path

from stages.registry import names

PLACE = Path(__file__).parent.parent / "docs/exports.md"
PACKAGES = {"datasets": "`datasets`", "FlagEmbedding": "its own package", "colbert": "its own package, where it is installed",
            "webdataset": "its own package", "json": "its lines, as this project reads them", "csv": "its lines, as this project reads them"}  # fmt: skip
TOP = """# Will my trainer read it?

`hardrock export --to TARGET … --verify` writes a target and reads every row back. A colon may stand for the first
underscore: `st:ntuple`. Each target is a folder with `data/`, `ids.parquet` in the same row order, and `export.json`.
This page is generated: `python -m tests.exports_table`.

| Target | What it is | Made for | Read back in the tests by |
|---|---|---|---|
"""


def page() -> str:
    rows = []
    for name in names("exporters"):
        module = importlib.import_module(f"stages.exporters.{name}")
        says = " ".join((module.__doc__ or "").split("\n\n")[0].split()).replace("|", "\\|")
        versions = ", ".join(f"{package} {version}" for package, version in module.CHECKED.items())
        rows.append(f"| `{name}` | {says} | {versions} | {PACKAGES[module.LOADER]} |")
    return TOP + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PLACE.write_text(page(), encoding="utf-8")
