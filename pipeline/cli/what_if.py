"""`hardrock what-if`: other rules on the stored scores."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import click

from pipeline.cli import options

if TYPE_CHECKING:
    from pipeline.runner import Runner
    from stages.settings import Settings
    from stages.spec import Source

FREE = ("judge", "estimate", "sample")
"""The stages whose settings can change without a new search."""


@click.command("what-if")
@options
@click.option("--round", "number", type=click.IntRange(min=0), default=0, show_default=True, help="Round of the model.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def what_if(number: int, as_json: bool, **given: Any) -> None:
    """Try other filters or another sampler on the stored candidates, beside the stored result. Nothing is written.

    Only judge.…, estimate.… and sample.… can be set: whatever else changes needs a new search, or a new training.
    """
    from pipeline.cli.session import runner
    from stages.errors import ConfigError

    made = runner(**given)
    others = [one for one in given["overrides"] if one.partition(".")[0].strip() not in FREE]
    if others or given["limit"] is not None:
        raise ConfigError(
            "this changes more than rules",
            got=", ".join(others) or f"--limit {given['limit']}",
            try_="--set judge.…, estimate.… or sample.…; for the rest, `hardrock run` with another workspace",
        )
    stored, tried = _stored(made, number), _tried(made, number)
    stored["negatives_jaccard"], tried["negatives_jaccard"] = (
        1.0,
        _jaccard(stored.pop("triplets"), tried.pop("triplets")),
    )
    if as_json:
        click.echo(json.dumps({"stored": stored, "what_if": tried}))
    else:
        _print(stored, tried)


def _stored(made: Runner, number: int) -> dict[str, Any]:
    """The figures of what is stored; the leak rate is estimated anew, with the seed that is configured."""
    from pipeline.plan import Node

    inputs = made.inputs(Node("sample", number))
    triplets = made.inputs(Node("export", number))["triplets"]
    manifest = made.workspace.manifest(Node("sample", number).name)
    negatives = int(manifest.identity["config"]["negatives"]) if manifest else 0
    return _figures(
        made, number, judged=inputs["judged"], triplets=triplets, positives=inputs["positives"], negatives=negatives
    )


def _tried(made: Runner, number: int) -> dict[str, Any]:
    """The figures of the configured rules, run in memory."""
    from pipeline import memory, plan
    from pipeline.plan import Node

    stages = made.configuration.stages
    judging = memory.run(plan.module("judge"), stages["judge"], made.inputs(Node("judge", number)), made.device, number)
    judged = cast("Source", judging.tables["judged"])
    promoted = cast("Source", judging.tables["promoted"])
    inputs = {**made.inputs(Node("sample", number)), "judged": judged, "promoted": promoted}
    lenient = cast(Any, stages["sample"]).model_copy(update={"min_yield": 0.0})
    sampling = memory.run(plan.module("sample"), cast("Settings", lenient), inputs, made.device, number)
    triplets = cast("Source", sampling.tables["triplets"])
    return _figures(
        made, number, judged=judged, triplets=triplets, positives=inputs["positives"], negatives=lenient.negatives
    )


def _figures(
    made: Runner,
    number: int,
    *,
    judged: Source,
    triplets: Source,
    positives: Source,
    negatives: int,
) -> dict[str, Any]:
    import numpy as np
    import pyarrow as pa

    from pipeline import memory, plan
    from pipeline.plan import Node

    inputs = {**made.inputs(Node("judge", number)), "judged": judged}
    estimates = memory.run(plan.module("estimate"), made.configuration.stages["estimate"], inputs, made.device, number)
    overall = {
        row["estimator"]: row
        for row in estimates.tables["estimates"].read().to_pylist()
        if row["filter"] == "all" and row["band"] == "overall"
    }
    verdicts = judged.read(["verdict"])["verdict"].cast(pa.string()).value_counts().to_pylist()
    chosen = triplets.read(["query_row", "positive_row", "negative_row"])
    key = (chosen["query_row"].to_numpy().astype(np.int64) << 32) + chosen["positive_row"].to_numpy()
    counts = np.unique(key, return_counts=True)[1]
    return {
        "verdicts": {one["values"]: one["counts"] for one in sorted(verdicts, key=lambda v: -v["counts"])},
        "negatives": chosen.num_rows,
        "negatives_per_pair": chosen.num_rows / max(1, positives.rows),
        "pairs": positives.rows,
        "pairs_with_all": int(np.count_nonzero(counts >= negatives)),
        "pairs_without": positives.rows - len(counts),
        "leak": {
            name: {key: row[key] for key in ("hidden", "leaked", "rate", "low", "high")}
            for name, row in overall.items()
        },
        "triplets": np.stack([key, chosen["negative_row"].to_numpy()], axis=1),
    }


def _jaccard(one: Any, other: Any) -> float:
    """Triplets in both over triplets in either; arrays (n, 2) of different rows."""
    import numpy as np

    both = len(one) + len(other) - len(np.unique(np.concatenate([one, other]), axis=0))
    return both / max(1, len(one) + len(other) - both)


def _print(stored: dict[str, Any], tried: dict[str, Any]) -> None:
    def line(says: str, before: str, after: str) -> None:
        click.echo(f"{says:<30}  {before:>22}  {after:>22}")

    def share(count: int, whole: int) -> str:
        return f"{count:,} ({count / max(1, whole):.1%})"

    line("", "stored", "what if")
    rows = [sum(each["verdicts"].values()) for each in (stored, tried)]
    for name in dict.fromkeys(["kept", *stored["verdicts"], *tried["verdicts"]]):
        counts = [each["verdicts"].get(name, 0) for each in (stored, tried)]
        line(f"candidates: {name}", share(counts[0], rows[0]), share(counts[1], rows[1]))
    line("negatives a pair", f"{stored['negatives_per_pair']:.2f}", f"{tried['negatives_per_pair']:.2f}")
    for key, says in (("pairs_with_all", "pairs with all negatives"), ("pairs_without", "pairs without a negative")):
        line(says, share(stored[key], stored["pairs"]), share(tried[key], tried["pairs"]))
    for name, says in (("hidden_positive", "leak rate, hidden positives"), ("hierarchy", "kept relatives (a proxy)")):
        if name in stored["leak"] and name in tried["leak"]:
            line(says, _leak(stored["leak"][name]), _leak(tried["leak"][name]))
    line("negatives as stored (Jaccard)", "", f"{tried['negatives_jaccard']:.3f}")


def _leak(rate: dict[str, Any]) -> str:
    return f"{rate['rate']:.3f} ({rate['low']:.3f}–{rate['high']:.3f})" if rate["hidden"] else "not known"
