"""Where a round stands in a schedule over several rounds."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from stages.spec import Context, Inputs


class Place(NamedTuple):
    """Where a round stands in its schedule: it takes the optimizer steps after `start` up to `stop`, of `steps` in all."""

    start: int
    stop: int
    steps: int
    carried: Path | None
    """The state that the round before ended with."""


def place_of(schedule_rounds: int, inputs: Inputs, context: Context, steps: int) -> Place:
    """The place of a round of `steps` steps. The rounds of a schedule that are still to come count as long as this one."""
    number = context.round % schedule_rounds
    to_come = (schedule_rounds - number) * steps
    if number == 0:
        return Place(0, steps, to_come, None)
    from stages.training.loop import steps_done

    carried = inputs["training_state"].path()
    start = steps_done(carried)
    context.log(f"round {number + 1} of {schedule_rounds} of one training, steps {start + 1} to {start + steps}")
    return Place(start, start + steps, start + to_come, carried)
