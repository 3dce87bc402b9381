"""`hardrock audit`: what is wrong with the data and the mined negatives, with limits for CI."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from pipeline.cli import options
from pipeline.cli.show import as_json


@click.command()
@options
@click.option("--max", "given_limits", multiple=True, metavar="CHECK=NUMBER",
              help="More than this ends with 3: --max near_duplicates=20 --max hub_share=0.1")  # fmt: skip
@click.option("--near", type=click.FloatRange(0, 1, min_open=True), default=0.8, show_default=True,
              help="Share of words in common from which two documents are near-duplicates.")  # fmt: skip
@as_json("One JSON object on standard output.")
def audit(given_limits: tuple[str, ...], near: float, as_json: bool, **given: Any) -> None:
    """Count what can be wrong with the data and the mined negatives, in every round.

    Known positives and their copies among the negatives, repeated triplets, scores that are not finite, candidates that were
    not judged and queries of train in dev or test are allowed 0 times; the rest has no limit unless --max gives one.
    """
    from pipeline.cli.console import cell, print_json, print_table
    from pipeline.cli.place import workspace_of
    from pipeline.looking.audit import audit as audited
    from pipeline.looking.audit import limits
    from pipeline.publish import looked_at
    from stages.errors import InputError

    allowed = limits(given_limits)
    with looked_at(workspace_of(**given)) as connection:
        found, left = audited(connection, allowed, near)
    beyond = [one for one in found if one.beyond]
    if as_json:
        print_json(
            {"ok": not beyond, "checks": [{**asdict(one), "ok": not one.beyond} for one in found], "not_checked": left}
        )
        if beyond:
            raise click.exceptions.Exit(InputError.exit_code)
        return
    print_table(
        ("check", "found", "limit", "", "says"),
        ((one.name, one.value, one.limit, "BEYOND" if one.beyond else "ok" if one.limit is not None else "", one.says)
         for one in found),
    )  # fmt: skip
    for one in beyond:
        for example in one.examples:
            click.echo(cell(f"{one.name}: {', '.join(f'{key} {value}' for key, value in example.items())}"))
    if left:
        click.echo(f"not checked, for what it needs is not made yet: {', '.join(left)}")
    if beyond:
        raise InputError(
            f"{len(beyond)} of {len(found)} checks are beyond their limit", got=", ".join(one.name for one in beyond),
            try_="mend the data or the filters, or allow more: --max CHECK=NUMBER",
        )  # fmt: skip
