"""Trains every arm with every seed, each in a workspace of its own below WORKSPACE/compare, under one budget of steps.

What arms share is done once: before a stage runs, its key is looked up among the results of the user's workspace and of
all arms, and a result with that key is taken over. So a second call, or one after a kill, goes on where the first ended.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import config, plan
from pipeline.compare.arms import Arm, seeing
from pipeline.compare.miner import mined
from pipeline.compare.reading import stored
from pipeline.manifest import Manifest
from pipeline.plan import Node
from pipeline.progress import LOG
from pipeline.runner import Runner
from pipeline.store import Workspace
from stages.errors import ArtefactError, ConfigError
from stages.examples import examples
from stages.pictures import kinds
from stages.schemas import TRIPLETS

FOLDER = "compare"


@dataclass(frozen=True)
class Asked:
    """What is compared: a configuration with its overrides, in a workspace, on a device."""

    source: Path
    overrides: tuple[str, ...]
    limit: int | None
    workspace: Workspace
    device: str
    ignore_space: bool = False

    @property
    def folder(self) -> Path:
        """Where everything is stored."""
        return self.workspace.root / FOLDER

    @property
    def rounds(self) -> int:
        """Rounds of the user's own workspace."""
        return Runner(
            config.load(self.source, self.overrides, self.limit, self.workspace.root), self.workspace, self.device
        ).rounds

    def runner(self, name: str, changes: Sequence[str]) -> Runner:
        """The configuration with changes, in a workspace of its own."""
        loaded = config.load(self.source, (*self.overrides, *changes), self.limit, self.workspace.root)
        return Runner(loaded, Workspace(self.folder / name), self.device, self.ignore_space)


@dataclass(frozen=True)
class Trial:
    """One arm with one seed, trained and evaluated."""

    arm: Arm
    seed: int
    runner: Runner
    mining_seconds: float  # of the library that mines in the place of the stage

    @property
    def nodes(self) -> list[Node]:
        """All that the arm needs, in order."""
        last = self.arm.rounds
        wanted = {Node("evaluate", last)}
        if self.arm.mines:
            wanted |= {Node("estimate", number) for number in range(last)}
        return plan.upstream(wanted, last)


class Shelf:
    """The results of several workspaces, by name and key."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Workspace] = {}

    def add(self, workspace: Workspace, name: str) -> None:
        """Remembers a result if it is whole."""
        try:
            manifest = workspace.manifest(name)
        except ArtefactError:
            return
        if manifest is not None and workspace.lacks(name, manifest) is None:
            self._found.setdefault((name, manifest.key), workspace)

    def scan(self, workspace: Workspace) -> None:
        """Remembers all results of a workspace."""
        for path in sorted((*workspace.root.glob("*/manifest.json"), *workspace.root.glob("round-*/*/manifest.json"))):
            self.add(workspace, str(path.parent.relative_to(workspace.root)))

    def find(self, name: str, key: str) -> tuple[Workspace, Manifest] | None:
        """A workspace that has the result, and its manifest."""
        lender = self._found.get((name, key))
        manifest = lender.manifest(name) if lender else None
        return (lender, manifest) if lender and manifest and manifest.key == key else None


def work(
    asked: Asked, arms: Sequence[Arm], seeds: int, steps: int | None, *, named: bool = False
) -> tuple[list[Trial], int]:
    """Brings every arm with every seed up to date; call it with the workspace's lock held. Returns the trials and the steps.

    Seeds come first: after each one all arms can be compared. Where there are pictures, arms that search texts are left out, and
    refused where they are `named`.
    """
    shelf = Shelf()
    for root in (asked.workspace.root, *sorted(path for path in asked.folder.glob("*") if path.is_dir())):
        shelf.scan(Workspace(root))
    shared = asked.runner("shared", ())
    bring(shared, [Node("ingest")], shelf)
    if "picture" in kinds(stored(shared, Node("ingest"), "corpus")) | kinds(stored(shared, Node("ingest"), "queries")):
        arms, others = seeing(arms, named=named)
        if others:
            LOG.info("compare: there are pictures: %s would search texts and are left out", others)
    budget = _budget(shared, steps)
    LOG.info("compare: %d arms, %d seeds, %d steps each", len(arms), seeds, budget)
    trials: list[Trial] = []
    for number in range(seeds):
        for arm in arms:
            trial = _trial(asked, shared, arm, number, budget)
            LOG.info("compare: %d of %d, %s, seed %d", len(trials) + 1, seeds * len(arms), arm.name, trial.seed)
            ran = bring(trial.runner, trial.nodes, shelf)
            LOG.info("  %s", f"{ran} stages run" if ran else "all fresh")
            trials.append(trial)
    return trials, budget


def _budget(shared: Runner, steps: int | None) -> int:
    """Steps of every arm: those that are asked for, else what the configuration's epochs make of all pairs; always even.

    A second round trains half of them twice.
    """
    train: Any = shared.configuration.stages["train"]
    if steps is None:
        qrels = stored(shared, Node("ingest"), "qrels").read()
        pairs = examples(qrels, TRIPLETS.empty_table(), None, "all")[1]["pairs"]
        if not pairs:
            raise ConfigError("there is no pair in the split train", where=str(shared.configuration.source))
        steps = math.ceil(train.epochs * math.ceil(pairs / train.batch_size))
        steps = steps if train.max_steps is None else min(steps, train.max_steps)
    if steps % 2:
        LOG.info("compare: %d steps and not %d, so that two rounds have half of them each", steps + 1, steps)
    return steps + steps % 2


def _trial(asked: Asked, shared: Runner, arm: Arm, number: int, budget: int) -> Trial:
    """An arm with a seed: its configuration, in a workspace of its own."""
    train, sample = (getattr(shared.configuration.stages[name], "seed") for name in ("train", "sample"))  # noqa: B009
    changes = [
        *arm.changes,
        f"rounds={arm.rounds}",
        f"train.max_steps={budget // arm.rounds}",
        "train.epochs=1e9",  # the steps decide, however many pairs an arm trains on
        f"train.seed={train + number}",
        f"sample.seed={sample + number}",
        "sample.min_yield=0.0",  # an arm that finds too little is shown with what it finds
    ]
    seconds = 0.0
    if arm.miner is not None:
        run = mined(shared, asked.folder / ".miner", sample + number)
        seconds = float(json.loads(run.with_suffix(".json").read_bytes())["seconds"])
        changes.append(f'mine.retrievers=[{{name="run", label="{arm.miner}", path={json.dumps(str(run))}}}]')
    runner = asked.runner(f"{arm.name}-{train + number}", changes)
    return Trial(arm, train + number, runner, seconds)


def bring(runner: Runner, nodes: Sequence[Node], shelf: Shelf) -> int:
    """Brings nodes up to date in order, from the shelf where it has them. Returns how many had to be run."""
    workspace = runner.workspace
    workspace.recover()
    workspace.keep([node.name for node in nodes])
    ran = 0
    for node in nodes:
        key = runner.identity(node, runner.inputs(node)).key
        there = workspace.manifest(node.name)
        if there is None or there.key != key:
            lent = shelf.find(node.name, key)
            if lent is not None:
                workspace.adopt(node.name, *lent)
        ran += runner.run_node(node)
        shelf.add(workspace, node.name)
    return ran
