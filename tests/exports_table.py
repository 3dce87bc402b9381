"""The tables of what trainers read, from the exporters and the tests themselves: `python -m tests.exports_table`.

docs/exports.md has a row for each target and the traps with the tests that stand before them; README.md a row for each trainer.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from stages.exporters._pieces import Files, OneFile
from stages.registry import build, names
from tests.export_traps import TRAPS
from tests.exports.__main__ import ENVIRONMENTS
from tests.roundtrip.test_every_exporter import LOSSES
from tests.roundtrip.test_real_loaders import STEPS

ROOT = Path(__file__).parent.parent
PLACE = ROOT / "docs/exports.md"
README = ROOT / "README.md"
BETWEEN = re.compile(r"(?<=<!-- exports -->\n).*?(?=<!-- /exports -->)", re.S)
PACKAGES = {"datasets": "`datasets`", "FlagEmbedding": "its own package", "colbert": "its own package", "webdataset": "its own package",
            "pandas": "`pandas`, as its own loader does", "json": "its lines, as this project reads them", "csv": "its lines, as this project reads them"}  # fmt: skip
LOADERS = {
    "FlagEmbedding": "its data sets and collators, embedder and reranker",
    "beir": "beir's `GenericDataLoader` and mteb's `RetrievalDatasetLoader`",
    "colbert-ai": "its `Collection`, `Queries` and `Examples`",
    "datasets": "`load_dataset` of every configuration of the card",
    "webdataset": "its `WebDataset`",
}
"""What reads an export in `make test`, of the trainers whose packages are pinned here."""
TOP = """# Will my trainer read it?

`hardrock export --to TARGET … --verify` writes a target and reads every row back. A colon may stand for the first
underscore: `st:ntuple`. Each target is a folder with `data/`, `ids.parquet` in the same row order, and `export.json`.
This page is generated: `python -m tests.exports_table`.

Pieces are written by several workers and joined: into one file of the same bytes, or as a file each (docs/scale.md).

| Target | What it is | Made for | Read back in the tests by | Pieces |
|---|---|---|---|---|
"""
BOTTOM = """
## Traps

What trainers do not say when they read a file otherwise than it was meant, and the test that stands before each.

| Trap | Test |
|---|---|
"""


def page() -> str:
    rows = []
    for name in names("exporters"):
        module = importlib.import_module(f"stages.exporters.{name}")
        says = " ".join((module.__doc__ or "").split("\n\n")[0].split()).replace("|", "\\|")
        versions = ", ".join(f"{package} {version}" for package, version in module.CHECKED.items())
        rows.append(f"| `{name}` | {says} | {versions} | {PACKAGES[module.LOADER]} | {pieces(name)} |")
    traps = [f"| {trap} | {', '.join(f'`{test}`' for test in tests)} |" for trap, tests in TRAPS.items()]
    return TOP + "\n".join(rows) + "\n" + BOTTOM + "\n".join(traps) + "\n"


def pieces(name: str) -> str:
    """How a target is joined."""
    member = build("exporters", name, {})
    return "one file" if isinstance(member, OneFile) else "a file each" if isinstance(member, Files) else "one piece"


def table() -> str:
    """A row a trainer: the targets for it, the version that they were checked with, and what reads them in the tests."""
    targets: dict[str, list[str]] = {}
    checked: dict[str, str] = {}
    for name in names("exporters"):
        made = importlib.import_module(f"stages.exporters.{name}").CHECKED
        trainer = next(iter(made))
        targets.setdefault(trainer, []).append(name)
        others = [f"{package} {version}" for package, version in made.items() if package not in (trainer, "datasets")]
        checked[trainer] = ", ".join([f"{trainer} {made[trainer]}", *others])
    rows = [
        f"| {checked[trainer]} | {', '.join(f'`{name}`' for name in targets[trainer])} | {shown(trainer)} |"
        for trainer in sorted(targets, key=str.casefold)
    ]
    return "| Trainer, as checked | `--to` | Shown by |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def shown(trainer: str) -> str:
    """What proves that a trainer reads its exports."""
    if trainer == "sentence-transformers":
        losses = {name for *_, name in STEPS} | set(LOSSES.values())
        return f"a training step with each of {len(losses)} losses, dense, sparse, multi-vector and cross-encoder"
    if trainer in LOADERS:
        return LOADERS[trainer]
    if trainer in ENVIRONMENTS:
        return "its own loader, in an environment of its own: `make test-exports`"
    return "a test of its contract: it is on no package index, or has no loader that can be called"


def written() -> Iterator[tuple[Path, str]]:
    """Each file of documentation with what it should be."""
    yield PLACE, page()
    yield README, BETWEEN.sub(lambda _: table(), README.read_text("utf-8"))


if __name__ == "__main__":
    for path, text in written():
        path.write_text(text, encoding="utf-8")
