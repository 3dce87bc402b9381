"""Commands that bring stages up to date."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import click

from pipeline import array, plan
from pipeline.catalog import check
from pipeline.cli import ENDPOINT, STAGES, options
from pipeline.cli.session import runner
from pipeline.delivery import deliver
from pipeline.lock import locked, without_workers
from pipeline.manifest import read
from pipeline.objects import objects
from pipeline.plan import Node
from pipeline.progress import LOG, start_logging
from pipeline.publish import catalog, refresh
from pipeline.runner import Runner
from stages.errors import ConfigError


def bring(made: Runner, choose: Callable[[list[Node]], set[Node]], more: int = 0) -> dict[str, Any]:
    """Runs the chosen nodes and what they need, under the workspace's lock, and brings the catalog up to date.

    Raises ConfigError at once for a workspace whose path no catalog can have.
    `more` rounds are added to those that are there. Returns what `--json` says: each node, whether it ran, and what it holds.
    """
    check(made.workspace.root)
    with locked(made.workspace.root):
        start_logging(made.workspace.root)
        with without_workers(made.workspace.root):
            made.workspace.recover()
        made.count_rounds(more)
        nodes = plan.upstream(choose(plan.nodes(made.rounds)), made.rounds)
        ran = made.run(nodes)
        if ran or not catalog(made.workspace).exists():
            refresh(made.workspace, made.rounds)
        LOG.info("%s: %s", made.workspace.root, f"{len(ran)} stages run" if ran else "all fresh, nothing to do")
    return {
        "workspace": str(made.workspace.root),
        "rounds": made.rounds,
        "stages": [{"name": node.name, "ran": node in ran, **_held(made, node)} for node in nodes],
    }


def _held(made: Runner, node: Node) -> dict[str, Any]:
    """Rows of each table, names of files, seconds that it took, and its counters."""
    folder = made.workspace.final(node.name)
    manifest = read(folder / "manifest.json")
    assert manifest is not None  # it is up to date
    tables = {name: sum(stored.rows or 0 for stored in many) for name, many in manifest.record.tables.items()}
    seconds = json.loads((folder / "run.json").read_bytes())["seconds"]
    record = manifest.record
    return {"seconds": seconds, "tables": tables, "files": list(record.files), "counters": dict(record.counters)}


def _say(found: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))


def engines(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say who does the shards: they become overrides of `[engine]`."""

    @functools.wraps(command)
    def with_engine(
        engine: str | None, workers: int | None, overrides: tuple[str, ...], **given: Any
    ) -> Callable[..., Any]:
        asked = [f'engine.name="{engine}"'] if engine else []
        asked += [f"engine.workers={workers}"] if workers else []
        return cast(Callable[..., Any], command(overrides=(*overrides, *asked), **given))

    for option in reversed((
        click.option("--engine", envvar="HARDROCK_ENGINE", type=click.Choice(("local", "processes", "ray")),
                     help="Who does the shards: this process, several of this machine, a Ray cluster. Default: [engine] name."),
        click.option("--workers", type=click.IntRange(min=1), help="How many processes do them. Default: [engine] workers."),
        click.option("--json", "as_json", is_flag=True,
                     help="One JSON object on standard output, once all is done: what ran, and what is there."),
    )):  # fmt: skip
        with_engine = option(with_engine)
    return with_engine


class Portion(click.ParamType):  # type: ignore[type-arg]
    """Which part of a stage's shards: `2/8` is the second of eight."""

    name = "I/N"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> tuple[int, int]:
        number, _, of = str(value).partition("/")
        if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            self.fail(f"{value!r} is not I/N with I from 1 to N", parameter, context)
        return int(number), int(of)


SHARD = click.option(
    "--shard", "portion", type=Portion(),
    help="Do only this part of the stage's shards, beside other jobs that do the others, and do not finish the stage: a call "
    "without --shard does that.",
)  # fmt: skip


@click.command()
@options
@engines
@click.option("--rounds", type=click.IntRange(0, 99), help="Rounds that train; overrides the configuration.")
def run(rounds: int | None, overrides: tuple[str, ...], *, as_json: bool, **given: Any) -> None:
    """Bring every stage up to date, in order. Fresh ones are skipped."""
    extra = () if rounds is None else (f"rounds={rounds}",)
    _say(bring(runner(**given, overrides=(*overrides, *extra)), set), as_json)


@click.command("round")
@options
@engines
def another_round(*, as_json: bool, **given: Any) -> None:
    """Open one more round: mine again with the trained model, train on what it finds, evaluate."""
    _say(bring(runner(**given), set, more=1), as_json)


def _stage(name: str, says: str) -> click.Command:
    last = name in ("evaluate", "guard", *plan.AFTER)

    @click.command(name, help=f"{says} Brings what it needs up to date first.")
    @options
    @engines
    @click.option("--round", "number", type=click.IntRange(min=0),
                  help=f"In this round. Default: {'all' if last else 'the first, 0'}.")  # fmt: skip
    @SHARD
    def command(number: int | None, portion: tuple[int, int] | None, *, as_json: bool, **given: Any) -> None:
        def choose(nodes: list[Node]) -> set[Node]:
            found = {node for node in nodes if node.stage == name}
            wanted = number if number is not None or last else 0
            chosen = {node for node in found if wanted is None or node.round in (None, wanted)}
            if not chosen:
                raise ConfigError(
                    f"{name} has no round {number}", try_="more rounds in the configuration, or `hardrock round`"
                )
            return chosen

        made = runner(**given)
        if portion is None:
            _say(bring(made, choose), as_json)
        else:
            _part(made, choose, portion, {"--json": as_json})

    return command


def _part(
    made: Runner,
    choose: Callable[[list[Node]], set[Node]],
    portion: tuple[int, int],
    asked: Mapping[str, object],
) -> None:
    """Does a part of a stage's shards. Raises ConfigError where something is `asked` of a result that is not finished."""
    for option, given in asked.items():
        if given:
            raise ConfigError("a part of a stage has no result of its own", try_=f"{option} without --shard")
    check(made.workspace.root)
    start_logging(made.workspace.root)
    array.do(made, choose(plan.nodes(made.rounds)), portion)


def _targets(made: Runner, names: tuple[str, ...]) -> None:
    """Makes these the targets of export: with their tables of the configuration, where it has them."""
    from stages.registry import build

    config: Any = made.configuration.stages["export"]
    known = {target.name: target for target in config.targets or ()}
    wanted = dict.fromkeys(name.replace(":", "_").replace("-", "_") for name in names)
    chosen = tuple(known.get(name) or build("exporters", name, {}) for name in wanted)
    stages = {**made.configuration.stages, "export": config.model_copy(update={"targets": chosen})}
    made.configuration = replace(made.configuration, stages=stages)


def _verify(made: Runner, number: int) -> Mapping[str, str]:
    """What each target's own reader finds."""
    from stages.export import verify

    node = Node("export", number)
    config: Any = made.configuration.stages["export"]
    found = verify(config, made.inputs(node), made.workspace.final(node.name))
    for name, says in found.items():
        LOG.info("%s: %s", name, says)
    return found


@click.command(help=f"{STAGES['export']} Brings what it needs up to date first.")
@options
@engines
@click.option("--round", "number", type=click.IntRange(min=0), default=0, help="In this round. Default: the first, 0.")
@click.option("--to", "first", multiple=True, metavar="TARGET…",
              help="Targets instead of those of the configuration, for this call: `--to st:ntuple flagembedding`. "
              "They replace what is exported; `status` then says that the configuration differs.")  # fmt: skip
@SHARD
@click.option(
    "--verify", "check_rows", is_flag=True, help="Load each target with its trainer's package and compare every row."
)
@click.option("--out", "out", metavar="s3://BUCKET/PREFIX",
              help="Copy each target there as well, into a folder of its name. Its `export.json` comes last: with it, a target is whole. "
              "What is there already is never replaced.")  # fmt: skip
@ENDPOINT
@click.argument("more", nargs=-1, metavar="[TARGET…]")
def export(
    number: int,
    first: tuple[str, ...],
    portion: tuple[int, int] | None,
    *,
    more: tuple[str, ...],
    check_rows: bool,
    out: str | None,
    endpoint: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    there = objects(out, endpoint) if out else None
    made = runner(**given)
    if first or more:
        _targets(made, (*first, *more))

    def choose(nodes: list[Node]) -> set[Node]:
        if Node("export", number) not in nodes:
            raise ConfigError(
                f"export has no round {number}", try_="more rounds in the configuration, or `hardrock round`"
            )
        return {Node("export", number)}

    if portion is not None:
        _part(made, choose, portion, {"--json": as_json, "--verify": check_rows, "--out": out})
        return
    found = bring(made, choose)
    if check_rows:
        found["verified"] = _verify(made, number)
    if there is not None:
        with locked(made.workspace.root):
            found["delivered"] = deliver(made.workspace, Node("export", number).name, there)
        for name, says in found["delivered"].items():
            LOG.info("%s/%s: %s", there.place, name, says)
    _say(found, as_json)


def __getattr__(name: str) -> click.Command:
    if name in STAGES:
        return _stage(name, STAGES[name])
    raise AttributeError(name)
