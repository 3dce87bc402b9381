"""Commands that look at a workspace and change nothing in it but its catalog."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from pipeline import room
from pipeline.cli import options
from pipeline.cli.console import print_json, say
from pipeline.cli.session import runner
from pipeline.cli.show import as_json
from pipeline.cli.target import targeted
from pipeline.plan import Node
from pipeline.runner import Runner, State
from pipeline.took import Took, last, took, total


@click.command()
@options
@click.option(
    "--why", "in_full", is_flag=True, help="Also say when each result was made, and what is behind a stage that waits."
)
@as_json("One JSON list on standard output.")
def status(in_full: bool, as_json: bool, **given: Any) -> None:
    """Say for each stage in each round whether its result is fresh or stale, and why."""
    made = runner(**given)
    states = made.status()
    behind = _behind(made, states)
    ran = {state.node: last(made.workspace, state.node) for state in states}
    if as_json:
        print_json([
            {"stage": s.node.name, "fresh": s.fresh, "waits": s.waits, "why": list(s.why),
             "behind": [each.node.name for each in behind[s.node]],
             **{"made": once.started if once else None, "seconds": once.seconds if once else None}}
            for s in states for once in (ran[s.node],)
        ])  # fmt: skip
        return
    for state in states:
        word = "fresh" if state.fresh else "waits" if state.waits else "stale"
        say(f"{state.node.name:<18} {word:<6} {'; '.join(state.why)}", 26)
        if in_full:
            for each in behind[state.node]:
                say(f"{'':<25} behind it: {each.node.name}: {'; '.join(each.why)}", 28)
            if (once := ran[state.node]) is not None:
                say(f"{'':<25} made {once.started} in {once.seconds:.1f} s", 28)


def _behind(made: Runner, states: list[State]) -> dict[Node, list[State]]:
    """For each stage that waits, the stale ones that it waits for in the end, in order."""
    by_node = {state.node: state for state in states}
    found: dict[Node, list[State]] = {}
    for state in states:
        roots: dict[Node, State] = {}
        if state.waits:
            for source, _ in made.reads(state.node).values():
                if not by_node[source].fresh:
                    roots |= {each.node: each for each in found[source] or [by_node[source]]}
        found[state.node] = [each for each in states if each.node in roots]
    return found


@click.command()
@options
@targeted
@as_json("One JSON object on standard output.")
def plan(as_json: bool, **given: Any) -> None:
    """List the stages that a run would bring up to date, in order, and about what each will write and take.

    Time and memory are those of the last time here; a stage that has not run in this workspace is unknown, and `hardrock check`
    makes a probe.
    """
    made = runner(**given)
    states = [state for state in made.status() if not state.fresh]
    runs = [took(made.workspace, state.node, made.rounds) for state in states]
    free = room.free(made.workspace.root)
    if as_json:
        print_json({
            "stages": [
                {"stage": s.node.name, "why": list(s.why), "waits": s.waits, "bytes": made.writes(s.node),
                 "took": asdict(once) if once else None}
                for s, once in zip(states, runs, strict=True)
            ],
            "seconds": total(runs)[0], "unknown": total(runs)[1], "bytes_free": free,
        })  # fmt: skip
        return
    for state in states:
        says = (
            f"{'; '.join(state.why)}: runs only if what it reads has changed" if state.waits else "; ".join(state.why)
        )
        say(f"{state.node.name:<18} {says}", 19)
    if not states:
        click.echo("all fresh, nothing to do")
        return
    for state, once in zip(states, runs, strict=True):
        size = "if it runs" if state.waits else f"will write about {room.human(made.writes(state.node))}"
        say(f"{state.node.name} {size}; {_took(once, state.node)}", 2)
    seconds, unknown = total(runs)
    if unknown == len(runs):
        say("time unknown, nothing of this has run here: `hardrock check` makes a probe")
    else:
        more = f"; {unknown} stages have not run here, theirs is unknown" if unknown else ""
        say(f"about {seconds:.0f} s if all of it runs and is as last time{more}")
    say(f"{room.human(free)} are free at {made.workspace.root}")


def _took(once: Took | None, node: Node) -> str:
    if once is None:
        return "time and memory unknown, it has not run here"
    where = "" if once.node == node.name else f", as {once.node}"
    least = "" if once.whole else "at least "
    return f"took {least}{once.seconds:.1f} s and at most {room.human(once.memory)} of memory last time{where}"
