"""`hardrock review`: one key labels one negative."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli import options
from pipeline.cli.show import as_json, in_round

if TYPE_CHECKING:
    from pipeline.looking.review import Draw
    from pipeline.runner import Runner

ANSWERS: dict[str, int | None] = {"y": 1, "r": 1, "n": 0, "u": None}
"""Keys and the relevance they stand for."""

BACK, QUIT = "b", "q"
_KEYS = "y relevant, n not relevant, u not sure, b back, q quit"


@click.command()
@options
@in_round
@click.option("--of", "kind", type=click.Choice(["sampled", "kept", "suspects"]), default="sampled", show_default=True,
              help="What is shown: sampled negatives or kept candidates, drawn evenly, or suspects.")  # fmt: skip
@click.option(
    "--count", type=click.IntRange(min=0), default=50, show_default=True, help="Pairs in all. 0 shows the rates alone."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed draws other pairs."
)
@as_json("The rates as one JSON list on standard output; the questions go to standard error.")
def review(number: int, kind: str, *, count: int, seed: int, as_json: bool, **given: Any) -> None:
    """Label negatives with single keys: y relevant, n not relevant, u not sure, b back, q quit.

    Answers are kept at once in labels.jsonl of the workspace, or where ingest.labels says. At the next run they are
    judgements with the source human: what is relevant is a positive and nobody's negative. Keys can be piped in.
    """
    from pipeline.cli.console import print_json, say
    from pipeline.cli.session import labels_path, runner
    from pipeline.looking.review import answered, rates
    from stages import labelling

    made = runner(**given)
    path = labels_path(made.configuration, made.workspace)
    new = 0
    if count:
        drawn = _drawn(made, kind, number, count, seed)
        done = answered(path)
        left = [one for one in drawn.questions if (one["query_id"], one["doc_id"]) not in done]
        say(f"{len(left)} of {len(drawn.questions)} are open. {_KEYS}", 2, err=as_json)
        new = _ask(left, path, drawn, as_json)
    found = rates(labelling.lines(path))
    if as_json:
        print_json(found)
        return
    if new:
        answers = "1 answer is" if new == 1 else f"{new} answers are"
        say(f"{answers} in {path}: the next run takes them in as judgements", 2)
    for one in found:
        _tell(one)
    if not found:
        click.echo("nothing was reviewed yet")


def _drawn(made: Runner, kind: str, number: int, count: int, seed: int) -> Draw:
    from pipeline.looking.review import draw
    from pipeline.plan import Node
    from pipeline.publish import opened

    manifest = made.workspace.manifest(Node("sample" if kind == "sampled" else "judge", number).name)
    with opened(made) as connection:
        return draw(connection, kind, number, count, seed=seed, result=manifest.key[:12] if manifest else "")


def _ask(left: list[dict[str, Any]], path: Path, drawn: Draw, quietly: bool) -> int:
    """Asks one question after the other until all are answered, or q; returns how many answers were kept."""
    from pipeline.looking.review import keep

    keys, place, kept = _keys(), 0, 0
    show: Callable[[Mapping[str, Any], str], None] = _shown if sys.stdout.isatty() and not quietly else _plain(quietly)
    while place < len(left):
        show(left[place], f"{place + 1} of {len(left)}")
        key = next((key for key in keys if key in ANSWERS or key in (BACK, QUIT)), QUIT)
        if key == QUIT:
            break
        if key == BACK:
            place = max(place - 1, 0)
            continue
        keep(path, drawn, left[place], ANSWERS[key])
        place, kept = place + 1, kept + 1
    return kept


def _keys() -> Iterator[str]:
    """Keys as they are pressed, or the characters of what is piped in, in lower case."""
    if sys.stdin.isatty():
        while True:
            yield click.getchar().lower()
    while key := sys.stdin.read(1):
        yield key.lower()


def _shown(question: Mapping[str, Any], place: str) -> None:
    from pipeline.cli.suspects import side_by_side

    click.clear()
    side_by_side(dict(question), place)
    click.echo(_KEYS)


def _plain(aside: bool) -> Callable[[Mapping[str, Any], str], None]:
    from pipeline.cli.console import cell

    def show(question: Mapping[str, Any], place: str) -> None:
        for line in (
            f"{place}  {question['query_id']}: {question['query']}",
            f"  negative {question['doc_id']}: {question['document']}",
            f"  positive {question['positive_id']}: {question['positive']}",
        ):
            click.echo(cell(line), err=aside)

    return show


def _tell(one: Mapping[str, Any]) -> None:
    from pipeline.cli.console import say

    of = "" if one["population"] is None else f" of {one['population']:,}"
    counts = f"{one['relevant']} relevant, {one['not_relevant']} not, {one['unsure']} unsure"
    rate = (
        "no even sample, so no rate"
        if one["rate"] is None
        else f"false negatives {one['rate']:.1%} ({one['low']:.1%} to {one['high']:.1%})"
    )
    say(f"round {one['round']}, {one['of']}{of} (draw {one['draw']}): {counts}; {rate}", 2)
