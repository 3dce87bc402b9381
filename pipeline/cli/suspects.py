"""`hardrock suspects`: likely false negatives beside the positives that they resemble."""

from __future__ import annotations

import re
import sys
from typing import Any

import click

from pipeline.cli import options
from pipeline.cli.show import as_json, in_round

COLUMNS = (
    "signs", "overlap", "gap", "teachers_above", "teachers", "rank", "score", "query_id", "query",
    "doc_id", "document", "positive_id", "positive",
)  # fmt: skip


@click.command()
@options
@in_round
@click.option("--rows", type=click.IntRange(min=1), default=10, show_default=True, help="Suspects to show.")
@click.option("--pool", type=click.IntRange(min=1), default=20_000, show_default=True,
              help="Kept candidates to look at, those nearest to their positives.")  # fmt: skip
@click.option("--sampled", is_flag=True, help="Only those that are negatives of a triplet.")
@as_json("One JSON object a line.")
def suspects(number: int, rows: int, pool: int, sampled: bool, as_json: bool, **given: Any) -> None:
    """Show kept candidates that are likely relevant, beside the positive that they resemble most.

    Signs are: teacher, a teacher scores it like a positive; shared query, another query has both among its positives;
    wording, half of the words in common; near, at most 10% below the positive's score. Those with the most signs come first.
    """
    from pipeline.cli.console import print_json, print_records
    from pipeline.cli.place import workspace_of
    from pipeline.looking.suspects import suspects as asked
    from pipeline.publish import looked_at

    with looked_at(workspace_of(**given)) as connection:
        found = asked(connection, number, rows, pool, sampled)
    if as_json:
        for row in found:
            print_json(row)
    elif sys.stdout.isatty():
        for place, row in enumerate(found, 1):
            side_by_side(row, f"{place} of {len(found)}")
        if not found:
            click.echo("no kept candidate has a sign against it")
    else:
        print_records(COLUMNS, found)


def side_by_side(row: dict[str, Any], place: str) -> None:
    """Prints one suspect beside its likest positive on a terminal, with the words that both have in bold."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from pipeline.cli.console import cell

    console = Console(highlight=False)
    console.print(f"{place}  {row['signs'] or 'no sign'}", style="bold", markup=False)
    console.print(cell(f"{row['query_id']}: {row['query']}"), markup=False)
    table = Table(box=SIMPLE, pad_edge=False, expand=True)
    near = "" if row["gap"] is None else f", {row['gap']:.1%} below"
    table.add_column(cell(f"kept as negative: {row['doc_id']}, rank {row['rank']}{near}"), ratio=1)
    table.add_column(cell(f"positive: {row['positive_id'] or 'none'}"), ratio=1)
    texts = (cell(row["document"]), cell(row["positive"]))
    common = set.intersection(*(set(words(text)) for text in texts))
    table.add_row(*(_marked(text, common) for text in texts))
    console.print(table)


def words(text: str) -> list[str]:
    """The words of a text in lower case."""
    return re.findall(r"[^\W_]+", text.lower())


def _marked(text: str, common: set[str]) -> Any:
    from rich.text import Text

    marked = Text(text)
    for match in re.finditer(r"[^\W_]+", text):
        if match[0].lower() in common:
            marked.stylize("bold yellow", *match.span())
    return marked
