"""`hardrock check`: is the data set sound, and what will a run take."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from pipeline.cli import options


@click.command()
@options
@click.option("--probe/--no-probe", default=True, show_default=True, help="Encode some hundred texts for an estimate.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def check(probe: bool, as_json: bool, **given: Any) -> None:
    """Validate the data set before anything is computed, and estimate time, memory and disk of a run.

    Nothing is written. Ends with 3 where there is an error: rows that cannot be used, judgements of what is not there, a query of
    train in test, a split without queries, too little disk or memory.
    """
    from pipeline import preflight
    from pipeline.cli.session import runner
    from stages.errors import InputError

    made = runner(**given)
    data, found, estimated = preflight.check(made.configuration, made.device, made.workspace.root, probe)
    errors = [finding for finding in found if finding.level == "error"]
    if as_json:
        counts = (
            {"counters": data.counters, "splits": data.facts.get("splits"), "messages": data.messages} if data else {}
        )
        click.echo(
            json.dumps({"ok": not errors, "findings": [asdict(one) for one in found], "estimate": estimated, **counts})
        )
    else:
        if data:
            _counts(data)
        for one in found:
            click.echo(f"{one.level}: {one.count:,} {one.says}" if one.what != "input" else f"error: {one.says}")
            for example in one.examples:
                click.echo(f"    {_line(example)}")
        if estimated:
            _estimate(estimated)
    if errors:
        if as_json:
            raise click.exceptions.Exit(InputError.exit_code)
        raise InputError(
            f"{len(errors)} of the findings above have to be mended first", try_="mend the data, or its configuration"
        )
    if not as_json:
        click.echo("ok")


def _counts(data: Any) -> None:
    for message in data.messages:
        click.echo(f"note: {_line(message)}")
    click.echo(f"{len(data.documents):,} documents, {len(data.queries):,} queries, {len(data.qrels):,} judgements")
    for split, its in data.facts.get("splits", {}).items():
        click.echo(f"  {split}: {its['queries']:,} queries, {its['positives']:,} positives")


def _estimate(estimated: dict[str, Any]) -> None:
    speed = estimated["texts_a_second"]
    click.echo(
        f"probe: {estimated['sample']['corpus']} documents at {speed['corpus']:,.0f} a second, "
        f"{estimated['sample']['queries']} queries at {speed['queries']:,.0f}"
    )
    times = ", ".join(f"{name} {_time(value)}" for name, value in estimated["seconds"].items())
    whole = sum(estimated["seconds"].values())
    click.echo(f"estimate: {_time(whole)}, or between {_time(whole / 2)} and {_time(2 * whole)} ({times})")
    click.echo(f"  memory {estimated['memory'] / 2**30:.1f} of {estimated['memory_of_machine'] / 2**30:.1f} GiB")
    click.echo(f"  disk {estimated['disk'] / 2**30:.2f} GiB; {estimated['disk_free'] / 2**30:.0f} GiB are free")


def _time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
