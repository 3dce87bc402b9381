"""`hardrock plan --target`: what a run of any size takes on a cluster."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click


def targeted(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of a target; without `--target` the command is as it was."""

    @functools.wraps(command)
    def with_target(target: str | None, **given: Any) -> None:
        asked = {name: given.pop(name) for name in ("nodes", "cores", "memory", "network", "calibrate")}
        if target is None:
            command(**given)
        else:
            _plan(target, **asked, **given)

    for option in reversed((
        click.option("--target", metavar="docs=…,queries=…",
                     help="Instead, what a run of this size takes on a cluster: measures one cell and prints the arithmetic."),
        click.option("--nodes", type=click.IntRange(min=1), default=1, show_default=True, help="Machines of the target."),
        click.option("--cores", type=click.IntRange(min=1), help="Cores a machine. Default: those of this one."),
        click.option("--memory", type=click.FloatRange(min=0.1), help="GB a machine. Default: those of this one."),
        click.option("--network", type=click.FloatRange(min=0.001), default=10.0, show_default=True,
                     help="Gbit/s a machine to the shared file system."),
        click.option("--calibrate", type=click.Choice(("measure", "runs")), default="measure", show_default=True,
                     help="Measure a cell now, or take what embed and mine took in this workspace."),
    )):  # fmt: skip
        with_target = option(with_target)
    return with_target


def _plan(
    text: str, *, nodes: int, cores: int | None, memory: float | None, network: float, calibrate: str, as_json: bool, **given: Any
) -> None:  # fmt: skip
    from pipeline import capacity
    from pipeline.cli.console import print_json
    from pipeline.cli.session import runner

    wanted = capacity.target(text, nodes, cores or 1, 0, network * 1e9 / 8)  # refuses before anything is measured
    made = runner(**given)
    cell = capacity.measure(made) if calibrate == "measure" else capacity.from_runs(made)
    asked = capacity.Target(
        wanted.docs, wanted.queries, nodes, cores or cell.cores, int(memory * 1e9) if memory else cell.node_memory,
        wanted.network,
    )  # fmt: skip
    settings = capacity.settings(made)
    found = capacity.estimate(cell, asked, settings)
    says = list(capacity.advice(found, cell, asked, settings))
    if as_json:
        print_json(capacity.as_json(cell, asked, found, says))
        return
    click.echo(
        f"{asked.docs:,} documents, {asked.queries:,} queries, {asked.nodes:,} nodes of {asked.cores} cores and "
        f"{asked.memory / 1e9:,.0f} GB, {network:g} Gbit/s each"
    )
    click.echo(
        f"calibrated on: {cell.source}; {1 / cell.embed_document:,.1f} documents a core-second, "
        f"{1e-9 / cell.pair:,.3f} billion pairs of {cell.dimensions} values a core-second"
    )
    click.echo(f"{'stage':<8} {'core-hours':>12} {'time':>10} {'GB a node':>10} {'GB stored':>11} {'GB moved':>13} {'shards':>10}")  # fmt: skip
    for each in found:
        click.echo(
            f"{each.stage:<8} {each.core_seconds / 3600:>12,.1f} {_time(each.seconds):>10} {each.memory / 1e9:>10,.1f} "
            f"{each.stored / 1e9:>11,.1f} {each.moved / 1e9:>13,.1f} {'whole' if each.whole else f'{each.shards:,}':>10}"
        )
    click.echo(
        f"{'all':<8} {sum(e.core_seconds for e in found) / 3600:>12,.1f} {_time(sum(e.seconds for e in found)):>10} "
        f"{max(e.memory for e in found) / 1e9:>10,.1f} {sum(e.stored for e in found) / 1e9:>11,.1f} {sum(e.moved for e in found) / 1e9:>13,.1f}"
    )
    for line in says:
        click.echo(line)


def _time(seconds: float) -> str:
    """3,700 s → 1.0 h."""
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} s"
