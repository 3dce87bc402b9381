"""Commands that bring stages up to date."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from pipeline import plan
from pipeline.cli import STAGES, options
from pipeline.cli.session import runner
from pipeline.lock import locked
from pipeline.plan import Node
from pipeline.progress import LOG, start_logging
from pipeline.publish import catalog, refresh
from pipeline.runner import Runner
from stages.errors import ConfigError


def bring(made: Runner, choose: Callable[[list[Node]], set[Node]], more: int = 0) -> None:
    """Runs the chosen nodes and what they need, under the workspace's lock, and brings the catalog up to date.

    `more` rounds are added to those that are there.
    """
    with locked(made.workspace.root):
        start_logging(made.workspace.root)
        made.workspace.recover()
        made.count_rounds(more)
        ran = made.run(plan.upstream(choose(plan.nodes(made.rounds)), made.rounds))
        if ran or not catalog(made.workspace).exists():
            refresh(made.workspace, made.rounds)
        LOG.info("%s: %s", made.workspace.root, f"{ran} stages run" if ran else "all fresh, nothing to do")


@click.command()
@options
@click.option("--rounds", type=click.IntRange(0, 99), help="Rounds that train; overrides the configuration.")
def run(rounds: int | None, overrides: tuple[str, ...], **given: Any) -> None:
    """Bring every stage up to date, in order. Fresh ones are skipped."""
    extra = () if rounds is None else (f"rounds={rounds}",)
    bring(runner(**given, overrides=(*overrides, *extra)), set)


@click.command("round")
@options
def another_round(**given: Any) -> None:
    """Open one more round: mine again with the trained model, train on what it finds, evaluate."""
    bring(runner(**given), set, more=1)


def _stage(name: str, says: str) -> click.Command:
    last = name in ("evaluate", *plan.AFTER)

    @click.command(name, help=f"{says} Brings what it needs up to date first.")
    @options
    @click.option("--round", "number", type=click.IntRange(min=0),
                  help=f"In this round. Default: {'all' if last else 'the first, 0'}.")  # fmt: skip
    def command(number: int | None, **given: Any) -> None:
        def choose(nodes: list[Node]) -> set[Node]:
            found = {node for node in nodes if node.stage == name}
            wanted = number if number is not None or last else 0
            chosen = {node for node in found if wanted is None or node.round in (None, wanted)}
            if not chosen:
                raise ConfigError(
                    f"{name} has no round {number}", try_="more rounds in the configuration, or `hardrock round`"
                )
            return chosen

        bring(runner(**given), choose)

    return command


def __getattr__(name: str) -> click.Command:
    if name in STAGES:
        return _stage(name, STAGES[name])
    raise AttributeError(name)
