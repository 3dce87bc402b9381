"""All pending shards in this process, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

from stages.settings import Settings
from stages.spec import Context, Inputs, Part


def run(stage: ModuleType, config: Settings, inputs: Inputs, context: Context) -> Iterator[Part]:
    """The parts of the context's shards, in order."""
    yield from stage.run(config, inputs, context)
