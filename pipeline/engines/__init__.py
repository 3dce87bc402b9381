"""Engines: one file a way to spread the shards of a stage. No stage knows which one does its shards.

An engine changes how fast a result comes and never what it is: a shard is a function of the configuration, the inputs and
itself, and whoever does it stores it by the commit routine of `pipeline.store`.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator, Sequence
from typing import Literal, Protocol, cast

from pydantic import Field

from pipeline.engines.task import Done, Task
from stages.settings import Settings, speed
from stages.spec import Shard


class EngineConfig(Settings):
    """Which engine does the shards, and with how many workers. None of it is part of a result's identity."""

    name: Literal["local", "processes", "ray"] = Field(
        "local",
        description="local: this process, one shard after the other; processes: several on this machine; ray: a Ray cluster",
    )
    workers: int | None = speed(
        None, "processes that do shards, each with a model of its own; none is one a core, or one a GPU", ge=1
    )
    threads: int | None = speed(None, "threads a worker; none shares out the cores of its machine", ge=1)
    address: str | None = speed(
        None,
        "host:port of a running Ray, or auto; none is RAY_ADDRESS, or a Ray of this machine that ends with the run",
    )


class Engine(Protocol):
    """A way to do shards."""

    def run(self, task: Task, shards: Sequence[Shard]) -> Generator[Done, None, None]:
        """Does the shards, stores each, and says so as they are finished, in any order. Closing it ends all workers."""
        ...


def build(config: EngineConfig) -> Engine:
    """The engine of a configuration; its module is imported now. Raises ResourceError where it cannot be had."""
    module = importlib.import_module(f"pipeline.engines.{config.name}")
    return cast(Engine, module.Engine(config))
