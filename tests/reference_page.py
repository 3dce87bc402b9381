"""docs/reference.md from the commands and the configuration themselves: `python -m tests.reference_page` writes it anew."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path

import click
from pydantic_core import PydanticUndefined

from pipeline import plan
from pipeline.cli import COMMANDS, STAGES
from pipeline.engines import EngineConfig
from stages.registry import names
from stages.settings import Settings

PLACE = Path(__file__).parent.parent / "docs/reference.md"
FAMILIES = {
    "datasets": "ingest.dataset", "views": "ingest.dataset.views, of the data set `corpus`", "encoders": "encoder",
    "indexes": "index.kind", "retrievers": "mine.retrievers", "fusions": "mine.fusion", "teachers": "teach.teachers",
    "filters": "judge.filters", "samplers": "sample.sampler", "exporters": "export.targets", "batches": "train.batches",
    "losses": "train.loss", "augmentations": "train.augmentations",
}  # fmt: skip


def page() -> str:
    return "\n".join([
        "# Reference", "", "Made by `python -m tests.reference_page` from `--help` and the configuration models.", "",
        "## Commands", "", *_commands(), "## Configuration", "",
        "A TOML file has `rounds` (default 1, how often it trains), `[encoder]`, a table a stage, and `[engine]`. What is left out has its default.", "",
        *_stages(), "## Families", "", "A member is named by `name`, or by its table where several can be given.", "", *_families(),
    ]).rstrip() + "\n"  # fmt: skip


def _commands() -> Iterator[str]:
    for name, (place, says) in COMMANDS.items():
        module, _, attribute = place.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        yield from (f"### hardrock {name}", "", says, "")
        if name in STAGES and name != "ingest":
            yield from ("The same options as `hardrock ingest`.", "") if _same(command) else _help(name, command)
        else:
            yield from _help(name, command)


def _same(command: click.Command) -> bool:
    module, _, attribute = COMMANDS["ingest"][0].partition(":")
    first = getattr(importlib.import_module(module), attribute)
    return [p.name for p in command.params] == [p.name for p in first.params]


def _help(name: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=f"hardrock {name}", max_content_width=110, terminal_width=110)
    yield from ("```", command.get_help(context).rstrip(), "```", "")


def _stages() -> Iterator[str]:
    for stage in plan.STAGES:
        yield from (f"### [{stage}]", "", *_fields(plan.spec(stage).config), "")
    yield from ("### [engine]", "", *_fields(EngineConfig), "")


def _families() -> Iterator[str]:
    for family, place in FAMILIES.items():
        yield from (f"### {place}", "")
        for name in names(family):
            module = importlib.import_module(f"stages.{family}.{name}")
            member = getattr(module, "".join(word.capitalize() for word in name.split("_")))
            says = " ".join((module.__doc__ or "").split("\n\n")[0].split())
            yield from (f"#### {name}", "", says, "", *_fields(member), "")


def _fields(model: type[Settings]) -> Iterator[str]:
    if not model.model_fields:
        yield "No keys."
        return
    yield from ("| Key | Default | What it is |", "|---|---|---|")
    for key, field in model.model_fields.items():
        says = " ".join((field.description or "").split()).replace("|", "\\|")
        yield f"| `{key}` | {_default(field)} | {says} |"


def _default(field: object) -> str:
    default = getattr(field, "default", PydanticUndefined)
    factory = getattr(field, "default_factory", None)
    if factory is not None:
        default = factory()
    if default is PydanticUndefined:
        return "must be given"
    return "`" + _shown(default).replace("|", "\\|") + "`"


def _shown(value: object) -> str:
    if isinstance(value, Settings):
        return str(getattr(value, "name", "{}"))
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_shown(each) for each in value) + "]"
    return "none" if value is None else json.dumps(value, default=str, ensure_ascii=False)


if __name__ == "__main__":
    PLACE.write_text(page(), "utf-8")
