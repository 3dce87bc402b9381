"""All pending shards in this process, one after the other."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from pipeline.engines.task import Done, Hand, Task, produce
from stages.settings import Settings
from stages.spec import Shard


class Engine:
    """All in one process. See `pipeline.engines.Engine`."""

    def __init__(self, config: Settings | None = None) -> None:
        self.config = config

    def run(self, task: Task, shards: Sequence[Shard]) -> Generator[Done, None, None]:
        """The shards in order. Where others are at work beside it, each is held against them while it is done."""
        if task.beside:
            hand = Hand(task)
            for shard in shards:
                done = hand.do(shard)
                yield Done(done.shard, done.record)
        else:
            for shard, record in produce(task, shards, task.building):
                yield Done(shard, record)
