"""Skips, resumes or runs one stage, or all of a plan."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from pipeline import environment, plan, progress, room
from pipeline.cache import DiskCache
from pipeline.config import Configuration
from pipeline.engines import local
from pipeline.fingerprint import Identity, differences
from pipeline.manifest import Manifest, Record, merge
from pipeline.plan import Node
from pipeline.source import FileSource, TableSource
from pipeline.store import Building, Workspace, storing
from stages.errors import ArtefactError
from stages.spec import WHOLE, Bar, Inputs, Shard, Source


@dataclass(frozen=True)
class RunContext:
    """What a stage is given of its surroundings; see `stages.spec.Context`."""

    shards: tuple[Shard, ...]
    scratch: Path
    cache: DiskCache
    device: str
    round: int

    def progress(self, says: str, total: int) -> AbstractContextManager[Bar]:
        return progress.bar(says, total)

    def log(self, message: str) -> None:
        progress.LOG.info("  %s", message)


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

    def run(self, nodes: Sequence[Node]) -> int:
        """Brings the nodes up to date in order. Returns how many had to be run."""
        self.workspace.keep([node.name for node in plan.nodes(self.rounds)])
        ran = 0
        for node in nodes:
            ran += self.run_node(node)
        return ran

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
        building = Building(self.workspace, node.name, identity.key)
        done = building.finished(shards)
        resumed = len(done)
        if resumed:
            progress.LOG.info("  goes on: %d of %d shards are there", resumed, len(shards))
        pending = tuple(shard for shard in shards if shard not in done)
        if pending:
            if not self.ignore_space:
                needed = self.writes(node) - room.begun(building.folder)
                room.check(node.name, self.workspace.root, max(needed, room.FIXED))
            cache = DiskCache(self.workspace.root / ".cache")
            context = RunContext(pending, building.scratch, cache, self.device, node.round or 0)
            self._store(building, node, context, inputs, done)
        manifest = Manifest(identity.as_json(), identity.key, merge(done[shard] for shard in shards))
        building.complete(manifest, {**clock.stop(), "device": self.device, "shards_resumed": resumed})
        progress.LOG.info("  %s in %.1f s", _summary(manifest), clock.seconds)
        return True

    def _store(
        self, building: Building, node: Node, context: RunContext, inputs: Inputs, done: dict[Shard, Record]
    ) -> None:
        """Runs the pending shards and stores their parts as they come."""
        parts: dict[Shard, list[Record]] = {}
        config = self.configuration.stages[node.stage]
        with storing(building.folder):
            for part in local.run(plan.module(node.stage), config, inputs, context):
                parts.setdefault(part.shard, []).append(building.store(part))
                if part.last:
                    for source in inputs.values():
                        cast(TableSource | FileSource, source).recheck()
                    done[part.shard] = merge(parts.pop(part.shard))
                    building.record(part.shard, done[part.shard])


class _Clock:
    """Times a stage for run.json."""

    def __init__(self) -> None:
        self._started, self._wall, self._cpu = datetime.now(UTC), time.monotonic(), time.process_time()
        self.seconds = 0.0

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
        }


def _summary(manifest: Manifest) -> str:
    """What was made, in a phrase: rows of each table, files."""
    tables: dict[str, Any] = {
        name: sum(stored.rows or 0 for stored in many) for name, many in manifest.record.tables.items()
    }
    says = [f"{rows:,} {name}" for name, rows in tables.items()]
    return ", ".join(says + list(manifest.record.files)) or "nothing to do"
