"""The table of a comparison, from what the trials have stored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.compare.arms import BASELINE, OURS
from pipeline.compare.reading import stored
from pipeline.compare.work import Trial
from pipeline.plan import TRAINING, Node
from stages.estimate import ALL
from stages.examples import Examples, examples
from stages.hiding import HIDDEN_POSITIVE
from stages.hierarchy import parents, related
from stages.schemas import COMPARE
from stages.statistics import crossed_interval, randomisation_test

Key = tuple[str, str, int | None]
"""Split, measure and cutoff."""

Values = dict[Key, np.ndarray]
"""float64 (s, n): seeds by queries."""


def compared(trials: Sequence[Trial], steps: int) -> pa.Table:
    """COMPARE: a row for each arm, split and measure, the arms in the order of the trials."""
    config: Any = trials[0].runner.configuration.stages["evaluate"]
    arms = {trial.arm.name: [one for one in trials if one.arm is trial.arm] for trial in trials}
    values = {name: _values(of) for name, of in arms.items()}
    rows: list[dict[str, Any]] = []
    for name, of in arms.items():
        about = {"arm": name, "seeds": len(of), "steps": steps, **_about(of)}
        keys = list(values[name])
        own = _intervals(values[name], keys, config.bootstrap, config.seed)
        against = {
            other: _differences(values[name], values[other], config)
            for other in (BASELINE, OURS)
            if other in values and other != name
        }
        for key, (value, low, high) in zip(keys, own, strict=True):
            split, measure, cutoff = key
            row = {"split": split, "measure": measure, "cutoff": cutoff, "value": value, "low": low, "high": high}
            for other, found in against.items():
                row |= {f"{other}_{field}": number for field, number in found[key].items()}
            rows.append({**about, **row, "queries": values[name][key].shape[1]})
    return pa.Table.from_pylist(rows, schema=COMPARE)


def _values(trials: Sequence[Trial]) -> Values:
    """The values per query of the model that was trained last. All trials measure the same queries."""
    columns: dict[Key, list[np.ndarray]] = {}
    for trial in trials:
        found = stored(trial.runner, Node("evaluate", trial.arm.rounds), "metrics").read()
        found = found.filter(
            pc.and_(pc.is_valid(found["query_row"]), pc.equal(found["system"].cast("string"), "dense"))
        )
        names = [found[name].cast("string").to_pylist() for name in ("split", "measure")]
        keys = list(zip(*names, found["cutoff"].to_pylist(), strict=True))
        value, places = found["value"].to_numpy(), dict[Key, list[int]]()
        for place, key in enumerate(keys):
            places.setdefault(key, []).append(place)
        for key, at in places.items():
            columns.setdefault(key, []).append(value[at])
    return {key: np.stack(each) for key, each in columns.items()}


def _intervals(values: Values, keys: Sequence[Key], resamples: int, seed: int) -> list[tuple[float, float, float]]:
    """Mean and interval of each key; the measures of a split share their resamples."""
    found: dict[Key, tuple[float, float, float]] = {}
    for split in dict.fromkeys(key[0] for key in keys):
        inside = [key for key in keys if key[0] == split]
        cube = np.stack([values[key] for key in inside], axis=2)  # (s, n, m)
        low, high = crossed_interval(cube, resamples, seed)
        for i, key in enumerate(inside):
            found[key] = float(cube[:, :, i].mean()), float(low[i]), float(high[i])
    return [found[key] for key in keys]


def _differences(this: Values, that: Values, config: Any) -> dict[Key, dict[str, float]]:
    """The first minus the second, paired by seed and query."""
    differences = {key: this[key] - that[key] for key in this}
    keys = list(differences)
    found = {}
    for key, (mean, low, high) in zip(keys, _intervals(differences, keys, config.bootstrap, config.seed), strict=True):
        by_query = differences[key].mean(axis=0)[:, None]  # (n, 1)
        p_value = float(randomisation_test(by_query, config.randomisations, config.seed)[0])
        found[key] = {"difference": mean, "low": low, "high": high, "p_value": p_value}
    return found


def _about(trials: Sequence[Trial]) -> dict[str, Any]:
    """What is said of an arm beside its measures, in the mean over its seeds; None where it is not known."""
    each = [{**_negatives(trial), **_leaks(trial), **_minutes(trial)} for trial in trials]
    return {name: _mean([one[name] for one in each]) for name in each[0]}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def trained_on(trial: Trial, number: int) -> Examples:
    """The pairs and negatives that a round of a trial trained on."""
    train: Any = trial.runner.configuration.stages["train"]
    qrels = stored(trial.runner, Node("ingest"), "qrels").read()
    triplets = stored(trial.runner, Node("sample", number), "triplets").read()
    return examples(qrels, triplets, train.negatives, train.pairs)[0]


def _negatives(trial: Trial) -> dict[str, float | None]:
    found = trained_on(trial, trial.arm.rounds - 1)
    query = np.repeat(found.queries, np.diff(found.offsets)).astype(np.int64)
    qrels = stored(trial.runner, Node("ingest"), "qrels").read()
    qrels = qrels.filter(pc.greater(qrels["relevance"], 0))
    positives = np.stack([qrels[name].to_numpy().astype(np.int64) for name in ("query_row", "doc_row")], axis=1)
    train = pc.unique(qrels.filter(pc.equal(qrels["split"], "train"))["query_row"])
    parent = parents(stored(trial.runner, Node("ingest"), "corpus"))
    relatives = None
    if len(query) and np.any(parent >= 0):
        pairs = np.stack([query, found.negatives.astype(np.int64)], axis=1)
        relatives = float(related(parent, positives, pairs).mean())
    return {
        "negatives": float(len(query)),
        "queries_without": float(len(train) - len(np.unique(query))),
        "relatives": relatives,
    }


def _leaks(trial: Trial) -> dict[str, float | None]:
    """What the stage estimate says of all filters together, in the last round that mined."""
    columns = {"leak_rate": "rate", "leak_low": "low", "leak_high": "high", "false_negatives": "false_negatives"}
    nothing: dict[str, float | None] = dict.fromkeys(columns)
    if not trial.arm.mines or trial.arm.miner is not None:
        return nothing  # no filters of ours decided
    rows = stored(trial.runner, Node("estimate", trial.arm.rounds - 1), "estimates").read().to_pylist()
    for row in rows:
        if (row["estimator"], row["filter"], row["band"]) == (HIDDEN_POSITIVE, ALL, "overall"):
            return {name: row[column] for name, column in columns.items()}
    return nothing


def _minutes(trial: Trial) -> dict[str, float]:
    """Minutes of training, and of all stages that the arm needs: as long as each took, by whichever arm it was run."""
    seconds: dict[Node, float] = {}
    for node in trial.nodes:
        run = trial.runner.workspace.final(node.name) / "run.json"
        seconds[node] = float(json.loads(run.read_bytes())["seconds"])
    needed = [node for node in seconds if trial.arm.mines or node.stage == "train" or node.stage not in TRAINING]
    return {
        "train_minutes": sum(seconds[node] for node in seconds if node.stage == "train") / 60,
        "minutes": (sum(seconds[node] for node in needed) + trial.mining_seconds) / 60,
    }
