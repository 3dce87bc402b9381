"""The command `hardrock`: one file a group of commands, imported when it is called.

This file imports click and nothing heavier, so that `hardrock --help` answers at once.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import click

STAGES = {
    "ingest": "Read and validate the data set.",
    "embed": "Turn corpus and queries into vectors.",
    "index": "Build the index and measure its recall.",
    "mine": "Search candidates for every training query.",
    "teach": "Score candidates once more by teachers, where any are given.",
    "judge": "Label each candidate: kept, or why not.",
    "deepen": "Search deeper for queries that keep too little.",
    "estimate": "Estimate how many false negatives pass.",
    "sample": "Choose negatives among what was kept.",
    "export": "Write files that other trainers load.",
    "train": "Train the retriever on the triplets.",
    "evaluate": "Measure retrieval on held-out queries.",
    "guard": "Measure what training cost on other collections.",
    "report": "Write the report page and metrics.json.",
}

COMMANDS = {
    "init": ("pipeline.cli.init:init", "Recognise a data set and write a configuration for it."),
    "check": ("pipeline.cli.check:check", "Validate the data and estimate a run, before anything is computed."),
    "run": ("pipeline.cli.run:run", "Bring every stage up to date."),
    "round": ("pipeline.cli.run:another_round", "Mine again with the trained model and train once more."),
    **{name: (f"pipeline.cli.run:{name}", says) for name, says in STAGES.items()},
    "status": ("pipeline.cli.look:status", "Say which stages are fresh or stale, and why."),
    "plan": ("pipeline.cli.look:plan", "List what a run would do."),
    "verify": ("pipeline.cli.verify:verify", "Check every file of the workspace against its sha256."),
    "push": ("pipeline.cli.remote:push_", "Publish the results in an object store, all at once."),
    "pull": ("pipeline.cli.remote:pull_", "Fetch results from an object store, checked."),
    "rounds": ("pipeline.cli.sql:rounds", "Show what each round gained, cost elsewhere and mined anew."),
    "show": ("pipeline.cli.show:show", "Show one query: positives, candidates, verdicts."),
    "why": ("pipeline.cli.show:why", "Say why a document is, or is not, a negative of a query."),
    "suspects": ("pipeline.cli.suspects:suspects", "Show likely false negatives beside the positives they resemble."),
    "review": ("pipeline.cli.review:review", "Label negatives with single keys; the judge obeys."),
    "audit": ("pipeline.cli.audit:audit", "Count what can be wrong with the mined data, with limits for CI."),
    "diff": ("pipeline.cli.diff:diff", "Compare two workspaces: negatives, verdicts, metrics."),
    "calibrate": ("pipeline.cli.calibrate:calibrate", "Find the threshold of a filter for a wanted leak rate."),
    "what-if": ("pipeline.cli.what_if:what_if", "Try other rules on the stored scores, and change nothing."),
    "compare": (
        "pipeline.cli.compare:compare",
        "Train with other ways to come by negatives, and show what mining pays.",
    ),
    "sql": ("pipeline.cli.sql:sql", "Query the workspace with DuckDB."),
    "completion": ("pipeline.cli.completion:completion", "Print what makes a shell complete commands and options."),
    "doctor": ("pipeline.cli.doctor:doctor", "Check versions, hardware and devices."),
}

ORDER = list(COMMANDS)


class Lazy(click.Group):
    """A group that knows its commands' names and imports one only when it is called."""

    def list_commands(self, context: click.Context) -> list[str]:
        return ORDER

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in ORDER])

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = arguments[0]
        if name not in COMMANDS and not name.startswith("-"):
            from stages.errors import suggestion

            raise click.UsageError(f"no command {name!r}: {suggestion(name, COMMANDS)}")
        return super().resolve_command(context, arguments)


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="hardrock")
def cli() -> None:
    """Hard negatives that can be trusted: mine, judge, train and prove a retriever."""


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every command on a workspace takes."""
    for option in reversed((
        click.option("--config", envvar="HARDROCK_CONFIG", type=click.Path(dir_okay=False),
                     help="Configuration file. Default: hardrock.toml here, else configs/default.toml."),
        click.option("--workspace", envvar="HARDROCK_WORKSPACE", type=click.Path(file_okay=False),
                     help="Folder of the results. Default: data/workspaces/NAME-OF-CONFIG, with --limit one of its own."),
        click.option("--device", envvar="HARDROCK_DEVICE", default="auto", show_default=True,
                     help="auto, cpu, cuda or cuda:N."),
        click.option("--limit", envvar="HARDROCK_LIMIT", type=click.IntRange(min=1),
                     help="Try out on at most this many queries a split and ten times as many documents."),
        click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE",
                     help="Override a key: --set judge.filters.relative_margin.margin=0.1"),
        click.option("--ignore-space", is_flag=True, envvar="HARDROCK_IGNORE_SPACE",
                     help="Run although the disk seems too small for what a stage will write."),
    )):  # fmt: skip
        command = option(command)
    return command


ENDPOINT = click.option(
    "--endpoint",
    metavar="URL",
    help="Of an object store that is not Amazon's: http://127.0.0.1:9000. Default: AWS_ENDPOINT_URL.",
)


def main() -> None:
    """Runs the command line and ends with the exit code of the error, as stages/errors.py lists them."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from pipeline.cli.guard import guarded

    code = guarded(lambda: cli(standalone_mode=False))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the code stands: nothing may change it while the process ends
    sys.exit(code)
