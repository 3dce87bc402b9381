"""`hardrock calibrate`: the threshold of a filter for a wanted leak rate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import click

from pipeline.cli import options

if TYPE_CHECKING:
    from pipeline.config import Configuration
    from stages.calibration import Evidence, Point, Sweep
    from stages.leakage import Trial

SAYS = {
    "hidden_positive": "hidden positives: labelled documents that the filters were not told of",
    "hierarchy": "a proxy, relatives of positives in the hierarchy of the corpus: not a leak rate of false negatives",
}


@click.command()
@options
@click.argument("filter_", metavar="[FILTER]", required=False)
@click.option(
    "--leak",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.05,
    show_default=True,
    help="Share of the relevant candidates that may be kept as negatives.",
)
@click.option(
    "--by",
    type=click.Choice(["high", "rate"]),
    default="high",
    show_default=True,
    help="What must not exceed it: the upper end of the 95% interval, or the rate itself.",
)
@click.option(
    "--estimator",
    type=click.Choice(list(SAYS)),
    help="Default: hidden_positive where enough queries have a hidden positive to show the wanted leak rate, else hierarchy.",
)
@click.option("--round", "number", type=click.IntRange(min=0), default=0, show_default=True, help="Round of the model.")
@click.option("--write", is_flag=True, help="Set the threshold in the configuration file.")
@click.option("--json", "as_json", is_flag=True, help="The table as JSON on standard output.")
def calibrate(
    *,
    filter_: str | None,
    leak: float,
    by: str,
    estimator: str | None,
    number: int,
    write: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Find the threshold of FILTER for a wanted leak rate, on the stored candidates, without a new search.

    FILTER is the name of a filter, relative_margin, or of one of its thresholds, rank_window.min. It acts together with the
    other filters of the configuration. Of the thresholds that leak little enough, the one that throws least away is chosen.
    """
    from pipeline.cli.session import runner
    from pipeline.edit import set_number
    from pipeline.plan import Node
    from stages import calibration, estimate
    from stages.errors import YieldError
    from stages.hiding import Mined

    made = runner(**given)
    judge, sample = cast(Any, made.configuration.stages["judge"]), cast(Any, made.configuration.stages["sample"])
    inputs = made.inputs(Node("judge", number))
    chosen = calibration.sweep(judge.filters, filter_)
    mined = Mined.read(inputs)
    config = cast(estimate.EstimateConfig, made.configuration.stages["estimate"])
    trial, because = _trial(estimate.trials(config, inputs, mined, judge.comparison), estimator, leak)
    click.echo(f"{trial.estimator}: {because}", err=True)
    pairs = calibration.Pairs(*mined.pairs(), judge.comparison == "per_positive", sample.negatives)
    points, best = calibration.calibrated(trial, chosen, leak, pairs, upper=by == "high")
    if as_json:
        click.echo(json.dumps({**_as_json(trial, chosen, points, best), "because": because}))
    else:
        _print(trial, chosen, points, best)
    if best is None:
        raise YieldError(
            f"no threshold of {'.'.join(chosen.key[2:])} brings the leak rate to {leak:g}",
            got=_lowest(points, by),
            try_="another filter, --by rate, more labelled queries, or a higher --leak",
        )
    value = int(best.threshold) if chosen.whole else best.threshold
    if write:
        changed = set_number(made.configuration.source, chosen.key, value, _tables(made.configuration, chosen))
        click.echo(
            f"{made.configuration.source}: {'.'.join(chosen.key)} = {value:g}" + ("" if changed else ", as before"),
            err=True,
        )
    elif not as_json:
        click.echo(
            f"\n{'.'.join(chosen.key)} = {value:g}; --write sets it, --set {'.'.join(chosen.key)}={value:g} tries it"
        )


def _trial(found: Sequence[Trial], wanted: str | None, leak: float) -> Evidence:
    """The estimator that is wanted, else the one whose evidence will do; and why."""
    from stages.calibration import Evidence, by_evidence
    from stages.errors import YieldError

    usable = {trial.estimator: trial for trial in found if any(block.chosen.any() for block in trial.relevant)}
    if wanted in usable:
        return Evidence(usable[wanted], "it is asked for")
    if wanted is None and (best := by_evidence(found, leak)):
        return best
    raise YieldError(
        "the leak rate cannot be estimated",
        where=f"estimator {wanted}" if wanted else None,
        got="no hidden positive among the candidates: no query has two different positives, or none is found; "
        + ("the hierarchy has no relatives either" if not usable else "the hierarchy has relatives"),
        try_=f"--estimator {next(iter(usable))}" if usable else "queries with two or more labelled documents",
    )


def _tables(configuration: Configuration, chosen: Sweep) -> list[tuple[str, ...]]:
    """The tables of all filters in order: what stands for the defaults when the file has none."""
    return [("judge", "filters", rule.name) for rule in chosen.filters]


def _lowest(points: Sequence[Point], by: str) -> str | None:
    known = [point for point in points if point.rate.hidden]
    if not known:
        return None
    low = min(known, key=lambda point: point.rate.high if by == "high" else point.rate.rate)
    return f"at best {low.rate.rate:.3f} ({low.rate.low:.3f} to {low.rate.high:.3f}) at {low.threshold:g}"


def _as_json(trial: Trial, chosen: Sweep, points: Sequence[Point], best: Point | None) -> dict[str, Any]:
    return {
        "estimator": trial.estimator,
        "key": ".".join(chosen.key),
        "threshold": best.threshold if best else None,
        "configured": chosen.current,
        "points": [
            {
                "threshold": point.threshold, **point.rate._asdict(), **point.loss._asdict(),
                "kept_per_query": point.kept_per_query, "pairs_full": point.pairs_full,
            }
            for point in points
        ],
    }  # fmt: skip


def _print(trial: Trial, chosen: Sweep, points: Sequence[Point], best: Point | None) -> None:
    first = points[0]
    of = "true negatives" if first.loss.negatives else "unjudged"
    if trial.estimator == "hierarchy":
        of = "others"
    click.echo(f"{first.rate.hidden:,} {SAYS[trial.estimator]}")
    if trial.unreached:
        click.echo(f"{trial.unreached:,} more are not among the candidates: they cannot leak and do not count")
    click.echo()
    click.echo(
        f"{chosen.field:>12}  {'leak rate':>9}  {'95% interval':>16}  {'lost of ' + of:>22}  {'kept a query':>12}  full pairs"
    )
    for point in points:
        rate = point.rate
        marks = " ← chosen" if point is best else ""
        marks += " (configured)" if point.threshold == chosen.current else ""
        click.echo(
            f"{point.threshold:>12g}  {rate.rate:>9.4f}  {rate.low:>7.4f}–{rate.high:<8.4f}  "
            f"{point.thrown_away:>22.1%}  {point.kept_per_query:>12.1f}  {point.pairs_full:>10.1%}{marks}"
        )
