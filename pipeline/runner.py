"""Skips, resumes or runs one stage, or all of a plan."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

from pipeline import engines, environment, plan, progress, room
from pipeline.config import Configuration
from pipeline.engines import local
from pipeline.engines.task import Done, Task, finish
from pipeline.fingerprint import Identity, differences
from pipeline.freed import give_back
from pipeline.inputs import bring
from pipeline.lock import without_workers
from pipeline.manifest import Manifest, merge
from pipeline.plan import Node
from pipeline.progress import Screen
from pipeline.source import FileSource, TableSource
from pipeline.store import Building, Workspace
from stages.errors import ArtefactError
from stages.spec import WHOLE, Inputs, Shard, Source


@dataclass(frozen=True)
class State:
    """Where a node stands: fresh, stale, or waiting for one before it; and why."""

    node: Node
    fresh: bool
    why: tuple[str, ...]
    waits: bool = False


class Runner:
    """One configuration in one workspace."""

    def __init__(
        self, configuration: Configuration, workspace: Workspace, device: str, ignore_space: bool = False
    ) -> None:
        self.configuration, self.workspace, self.device = configuration, workspace, device
        self.ignore_space = ignore_space
        self.engine = engines.build(configuration.engine)
        self.count_rounds()

    def count_rounds(self, more: int = 0) -> None:
        """Rounds that the configuration asks for or that are there, and `more`. Changes under another run's hands until the lock is held."""
        self.rounds = max(self.configuration.rounds, self._rounds_there()) + more

    def _rounds_there(self) -> int:
        """Rounds that were trained in this workspace before, by configuration or by `hardrock round`."""
        number = 0
        while self.workspace.manifest(Node("train", number).name) is not None:
            number += 1
        return number

    def reads(self, node: Node) -> dict[str, tuple[Node, str]]:
        """The inputs of a node under this configuration, as `plan.reads` gives them."""
        asks = plan.spec(node.stage).asks
        return plan.reads(node, self.rounds, asks(self.configuration.stages[node.stage]) if asks else ())

    def inputs(self, node: Node) -> Inputs:
        """The sources of a node's inputs. Raises ArtefactError when one has not been made."""
        found: dict[str, Source] = {}
        for name, (source, output) in self.reads(node).items():
            manifest = self.workspace.manifest(source.name)
            folder = self.workspace.final(source.name)
            if manifest is None:
                raise ArtefactError(
                    f"{node.name} needs {output}, which {source.name} has not made", where=str(folder),
                    try_=f"hardrock {source.stage}",
                )  # fmt: skip
            facts = manifest.record.facts if output in plan.spec(node.stage).facts_of else {}
            if output in plan.spec(source.stage).tables:
                found[name] = TableSource(folder, output, manifest, facts)
            else:
                found[name] = cast(Source, FileSource(folder, output, manifest, facts))
        return found

    def identity(self, node: Node, inputs: Inputs) -> Identity:
        """All that the node's result depends on."""
        spec, config = plan.spec(node.stage), self.configuration.stages[node.stage]
        prints = {}
        for name, (source, output) in self.reads(node).items():
            manifest = self.workspace.manifest(source.name)
            prints[name] = manifest.fingerprint(output, with_facts=output in spec.facts_of) if manifest else ""
        for origin in self.configuration.origins.get(node.stage, ()):
            bring(origin)
        external = spec.external(config, inputs, self.device) if spec.external else {}
        return Identity(node.stage, spec.version, node.round, config.semantic(), prints, external)

    def state(self, node: Node, before: Sequence[State] = ()) -> State:
        """Whether the node's result is what its inputs and configuration call for."""
        stale = {state.node for state in before if not state.fresh}
        blockers = {source.name for source, _ in self.reads(node).values() if source in stale}
        if blockers:
            return State(node, False, (f"after {', '.join(sorted(blockers))}",), waits=True)
        why = self._stale(node, self.identity(node, self.inputs(node)))
        return State(node, not why, why)

    def _stale(self, node: Node, identity: Identity) -> tuple[str, ...]:
        """Why what is stored is not the result with this identity; empty when it is."""
        stored = self.workspace.manifest(node.name)
        if stored is None:
            return ("not made yet",)
        if stored.key != identity.key:
            return tuple(differences(stored.identity, identity.as_json()))
        missing = self.workspace.lacks(node.name, stored)
        return (f"{missing} is missing or has another size",) if missing else ()

    def writes(self, node: Node) -> int:
        """About how many bytes the node's result will take; its inputs may be missing, and then count for nothing."""
        sizes = {}
        for name, (source, output) in self.reads(node).items():
            manifest = self.workspace.manifest(source.name)
            if manifest is not None:
                sizes[name] = room.of(manifest, output)
        earlier = self.workspace.manifest(node.name)
        return room.estimate(node.stage, self.configuration.stages[node.stage], sizes, earlier)

    def status(self) -> list[State]:
        """The state of every node in order, without doing anything."""
        states: list[State] = []
        for node in plan.nodes(self.rounds):
            states.append(self.state(node, states))
        return states

    def run(self, nodes: Sequence[Node]) -> list[Node]:
        """Brings the nodes up to date in order. Returns those that had to be run."""
        self.workspace.keep([node.name for node in plan.nodes(self.rounds)])
        return [node for node in nodes if self.run_node(node)]

    def run_node(self, node: Node) -> bool:
        """Brings one node up to date; its inputs must be. True when it had to be run."""
        inputs = self.inputs(node)
        identity = self.identity(node, inputs)
        why = self._stale(node, identity)
        if not why:
            self.workspace.drop(node.name)
            return False
        progress.LOG.info("%s: %s", node.name, "; ".join(why))
        clock = _Clock()
        spec = plan.spec(node.stage)
        shards = tuple(spec.shards(self.configuration.stages[node.stage], inputs)) if spec.shards else (WHOLE,)
        with without_workers(self.workspace.root):
            building = Building(self.workspace, node.name, identity.key).begin()
            done = building.finished(shards)
        resumed = len(done)
        if resumed:
            progress.LOG.info("  goes on: %d of %d shards are there", resumed, len(shards))
        pending = tuple(shard for shard in shards if shard not in done)
        task = self.task(node, inputs, identity.key)
        if (pending or spec.finishes) and not self.ignore_space:
            needed = self.writes(node) - room.begun(building.folder)
            room.check(node.name, self.workspace.root, max(needed, room.FIXED))
        if pending:
            for each in self.do(task, pending, clock.credit):
                done[each.shard] = each.record
        records = [done[shard] for shard in shards]
        if spec.finishes:
            records = [replace(record, pieces=()) for record in records] + [finish(task, shards, building)]
        manifest = Manifest(identity.as_json(), identity.key, merge(records))
        run = {**clock.stop(), "device": self.device, "shards_resumed": resumed}
        with without_workers(self.workspace.root):
            building.complete(manifest, run)
        give_back()
        progress.LOG.info("  %s in %.1f s", _summary(manifest), clock.seconds)
        return True

    def task(self, node: Node, inputs: Inputs, key: str, beside: bool = False) -> Task:
        """What whoever does the node's shards has to know."""
        config = self.configuration.stages[node.stage]
        return Task(
            node.stage, node.name, node.round or 0, self.device, config, inputs, self.workspace.root, key, Screen(), beside
        )  # fmt: skip

    def do(self, task: Task, shards: Sequence[Shard], note: Callable[[Done], None]) -> Iterator[Done]:
        """The shards as they are stored: by the engine, or by this process where the stage cannot be divided."""
        engine = self.engine if self.divides(task.stage) else local.Engine()
        with closing(engine.run(task, shards)) as running:
            for done in running:
                note(done)
                yield done

    def divides(self, stage: str) -> bool:
        """Whether several processes may do shards of a stage under this configuration."""
        spec = plan.spec(stage)
        together = spec.undivided is not None and spec.undivided(self.configuration.stages[stage])
        return spec.shards is not None and not together


class _Clock:
    """Times a stage for run.json."""

    def __init__(self) -> None:
        self._started, self._wall, self._cpu = datetime.now(UTC), time.monotonic(), time.process_time()
        self.seconds = 0.0
        self._workers: dict[tuple[str, int], dict[str, Any]] = {}

    def credit(self, done: Done) -> None:
        """Notes what a worker had used when it finished a shard."""
        if done.by is not None:
            known = self._workers.setdefault((done.by.host, done.by.pid), {"shards": 0})
            known |= {**asdict(done.by), "shards": known["shards"] + 1}

    def stop(self) -> dict[str, Any]:
        self.seconds = time.monotonic() - self._wall
        return {
            "started": self._started.isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 3),
            "cpu_seconds": round(time.process_time() - self._cpu, 3),
            "peak_memory": environment.peak_memory(),
            "command": sys.argv,
            "versions": environment.versions(),
            "hardware": environment.hardware(),
            "git": environment.git_state(),
            **({"workers": list(self._workers.values())} if self._workers else {}),
        }


def _summary(manifest: Manifest) -> str:
    """What was made, in a phrase: rows of each table, files."""
    tables: dict[str, Any] = {
        name: sum(stored.rows or 0 for stored in many) for name, many in manifest.record.tables.items()
    }
    says = [f"{rows:,} {name}" for name, rows in tables.items()]
    return ", ".join(says + list(manifest.record.files)) or "nothing to do"
