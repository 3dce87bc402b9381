"""What stages took when they ran here before, from their run.json: the best guess at what they will take again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import plan
from pipeline.plan import Node
from pipeline.store import Workspace


@dataclass(frozen=True)
class Took:
    """One earlier run of a stage in this workspace."""

    node: str  # where it ran: the same node, or the same stage in another round
    started: str
    seconds: float
    memory: int  # bytes, the most that the process had held by then: an upper bound for the stage
    whole: bool  # false where it went on from shards of a killed run, whose time is not known


def took(workspace: Workspace, node: Node, rounds: int) -> Took | None:
    """The last run of a node, else that of its stage in the nearest round; None where neither is known."""
    known = [other for other in plan.nodes(rounds) if other.stage == node.stage]
    for other in sorted(known, key=lambda one: abs((one.round or 0) - (node.round or 0))):
        value = last(workspace, other)
        if value is not None:
            return value
    return None


def last(workspace: Workspace, node: Node) -> Took | None:
    """The run that made the result of this very node; None where there is none."""
    try:
        value: dict[str, Any] = json.loads((workspace.final(node.name) / "run.json").read_bytes())
        return Took(
            node.name,
            str(value["started"]),
            float(value["seconds"]),
            int(value["peak_memory"]),
            not value.get("shards_resumed"),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # nothing hangs on it: it is not proven by the manifest


def total(found: Sequence[Took | None]) -> tuple[float, int]:
    """The seconds of those that are known, and how many are not."""
    return sum(one.seconds for one in found if one is not None), sum(one is None for one in found)
