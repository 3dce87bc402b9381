"""The stages in order, as data: a newcomer reads this first.

ingest ──→ round 0:  embed → index ─┬→ evaluate, guard     (the untrained model)
└→ mine → teach → judge → deepen ─┬→ estimate
└→ sample ─┬→ export
└→ train
round 1:  embed → index ─┬→ evaluate, guard     (the trained model)
└→ mine → …            (only when another round is asked for)
report reads every round
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import cast

from stages.errors import ConfigError, suggestion
from stages.spec import Spec

BEFORE = ("ingest",)
"""Once, before all rounds."""

OPENING = ("embed", "index", "evaluate", "guard")
"""Of every round: what its model makes of the corpus and what that is worth."""

TRAINING = ("mine", "teach", "judge", "deepen", "estimate", "sample", "export", "train")
"""Of a round that trains: all but the last."""

AFTER = ("report",)
"""Once, after all rounds."""

STAGES = (*BEFORE, "embed", "index", *TRAINING, "evaluate", "guard", *AFTER)

EARLIER = {
    "checkpoint": ("train", "checkpoint", -1),
    "previous_metrics": ("evaluate", "metrics", -1),
    "first_metrics": ("evaluate", "metrics", 0),
    "previous_guard_metrics": ("guard", "guard_metrics", -1),
    "first_guard_metrics": ("guard", "guard_metrics", 0),
    "training_state": ("train", "training_state", -1),
}
"""Optional inputs, all from an earlier round: stage, its output, and which round: -1 the one before, 0 the first."""


@dataclass(frozen=True)
class Node:
    """A stage in a round; the round is None for what is done once."""

    stage: str
    round: int | None = None

    @property
    def name(self) -> str:
        """Its folder in the workspace: `ingest`, `round-00/mine`."""
        return self.stage if self.round is None else f"round-{self.round:02d}/{self.stage}"


def module(stage: str) -> ModuleType:
    """The module of a stage. Raises ConfigError with a suggestion for an unknown name."""
    if stage not in STAGES:
        raise ConfigError(f"no stage {stage!r}", try_=suggestion(stage, STAGES))
    return importlib.import_module(f"stages.{stage}")


def spec(stage: str) -> Spec:
    """What is known of a stage."""
    return cast(Spec, module(stage).SPEC)


@cache
def maker(output: str) -> str:
    """The stage that makes a table or a file."""
    for stage in STAGES:
        if output in spec(stage).tables or output in spec(stage).files:
            return stage
    raise ConfigError(f"no stage makes {output!r}")


def nodes(rounds: int) -> list[Node]:
    """All nodes in the order in which they run: `rounds` of them train, and one more shows what the last model is worth."""
    plan = [Node(stage) for stage in BEFORE]
    for number in range(rounds + 1):
        plan += [Node(stage, number) for stage in OPENING]
        if number < rounds:
            plan += [Node(stage, number) for stage in TRAINING]
    return plan + [Node(stage) for stage in AFTER]


def reads(node: Node, rounds: int, asked: Sequence[str] = ()) -> dict[str, tuple[Node, str]]:
    """The inputs of a node, and those `asked` for besides: the name it knows them by, the node that makes them, and their name there."""
    known = set(nodes(rounds))
    wanted = spec(node.stage)
    found: dict[str, tuple[Node, str]] = {}
    for name in (*wanted.inputs, *asked):
        stage = maker(name)
        found[name] = (Node(stage, None if stage in BEFORE else node.round), name)
    for name in wanted.optional:
        stage, output, which = EARLIER[name]
        if node.round:
            found[name] = (Node(stage, node.round - 1 if which < 0 else which), output)
    for name in wanted.every_round:
        for number in range(rounds + 1):
            source = Node(maker(name), number)
            if source in known:
                found[f"round-{number:02d}/{name}"] = (source, name)
    return found


def upstream(targets: set[Node], rounds: int) -> list[Node]:
    """The targets and all that they need, in the order in which they run."""
    needed = set(targets)
    for node in reversed(nodes(rounds)):
        if node in needed:
            needed |= {source for source, _ in reads(node, rounds).values()}
    return [node for node in nodes(rounds) if node in needed]
