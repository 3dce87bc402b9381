"""What is dear to open and the same for every shard: a model, an index, a table of all queries."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from stages.spec import Context

T = TypeVar("T")


def once(context: Context, name: str, make: Callable[[], T]) -> T:
    """What `make` gives. A worker that is handed one shard after the other makes it for the first and holds it.

    A worker does the shards of one stage with one configuration and one set of inputs, so the name alone tells what it is.
    A context without `held` is asked for all shards at once, and nothing outlives them.
    """
    held = cast(dict[str, T] | None, getattr(context, "held", None))
    if held is None:
        return make()
    if name not in held:
        held[name] = make()
    return held[name]
