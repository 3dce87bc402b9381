"""Array jobs: some shards of one stage, beside other jobs that do the others, in one workspace that all of them see.

    hardrock index                      the stages before, by one process
    hardrock mine --shard 1/8           eight jobs, at the same time or one after the other, on any machines
    hardrock mine                       finishes the stage: it finds the shards and does those that are missing

A job never finishes the stage, removes nothing, and does not run the stages before. It holds the workspace's lock together
with other jobs of its kind, so that no run can finish or clean up under their hands. docs/decisions/0012 has the reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from pipeline import plan, room
from pipeline.engines.task import Done, Task
from pipeline.lock import shared
from pipeline.plan import Node
from pipeline.progress import LOG
from pipeline.runner import Runner, State
from pipeline.store import Building
from stages.errors import ArtefactError, ConfigError
from stages.spec import Shard


@dataclass(frozen=True)
class _Job:
    """What one job does. `task` is None where the stage is finished already."""

    task: Task | None
    shards: tuple[Shard, ...] = ()
    mine: tuple[Shard, ...] = ()


def portion_of(shards: tuple[Shard, ...], number: int, of: int) -> tuple[Shard, ...]:
    """The shards of job `number` of `of`, from 1: neighbours, so that a job reads its inputs in one pass."""
    return shards[len(shards) * (number - 1) // of : len(shards) * number // of]


def do(made: Runner, nodes: Collection[Node], portion: tuple[int, int]) -> None:
    """Does a part of the node's shards. Raises LockedError while a run works in the workspace, ConfigError, ArtefactError."""
    node = _only(made, nodes)

    def prepare(be_alone: Callable[[], None]) -> _Job:
        return _prepare(made, node, portion, be_alone)

    with shared(made.workspace.root, prepare) as job:
        if job.task is None:
            LOG.info("%s: fresh, nothing to do", node.name)
            return
        building = job.task.building
        done = [shard for shard in job.mine if building.stored_whole(shard) is not None]
        if done:
            LOG.info("  goes on: %d of %d shards are there", len(done), len(job.mine))
        todo = [shard for shard in job.mine if shard not in done]
        if todo:
            _room(made, node, building, len(todo) / len(job.shards))
            for _ in made.do(job.task, todo, _unnoted):
                pass
        there = building.recorded(job.shards)
        LOG.info(
            "%s: part %d of %d is done, %d of its shards; %d of all %d are there. `hardrock %s` finishes the stage",
            node.name, *portion, len(job.mine), there, len(job.shards), node.stage,
        )  # fmt: skip


def _only(made: Runner, nodes: Collection[Node]) -> Node:
    if len(nodes) != 1:
        raise ConfigError("--shard is for one round", got=", ".join(sorted(n.name for n in nodes)), try_="--round 0")
    (node,) = nodes
    if not made.divides(node.stage):
        raise ConfigError(f"{node.stage} is not divided into shards", where="--shard", try_=f"hardrock {node.stage}")
    return node


def _prepare(made: Runner, node: Node, portion: tuple[int, int], be_alone: Callable[[], None]) -> _Job:
    """Begins the result, unless another job has. No other job prepares at the same time."""
    made.count_rounds()
    states: list[State] = []
    for before in plan.upstream({node}, made.rounds):
        states.append(made.state(before, states))
        if not states[-1].fresh and before != node:
            raise ArtefactError(
                f"{before.name} is not up to date, and a job of {node.stage} does not run it",
                got="; ".join(states[-1].why), try_=f"hardrock {before.stage}, and then the jobs",
            )  # fmt: skip
    if states[-1].fresh:
        return _Job(None)
    LOG.info("%s, part %d of %d: %s", node.name, *portion, "; ".join(states[-1].why))
    inputs = made.inputs(node)
    spec = plan.spec(node.stage)
    shards = tuple(spec.shards(made.configuration.stages[node.stage], inputs)) if spec.shards else ()
    task = made.task(node, inputs, made.identity(node, inputs).key, beside=True)
    building = task.building
    if (building.folder / "manifest.json").is_file():
        raise ArtefactError(
            f"a killed run left {node.name} whole and without its name", where=str(building.folder),
            try_=f"hardrock {node.stage}, which gives it its name",
        )  # fmt: skip
    if not building.begun and building.folder.exists():
        be_alone()  # what is there was begun for another result, and goes
    building.begin()
    return _Job(task, shards, portion_of(shards, *portion))


def _room(made: Runner, node: Node, building: Building, share: float) -> None:
    if not made.ignore_space:
        needed = int(made.writes(node) * share)
        room.check(f"this part of {node.name}", made.workspace.root, max(needed, room.FIXED))


def _unnoted(done: Done) -> None:
    """A job has no run.json."""
