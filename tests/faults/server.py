"""A process with everything imported and nothing begun: it forks one run of the light pipeline for each line it is given."""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults import events, measure, world

ROOT = Path(__file__).parents[2]

PATIENCE = 300
"""Seconds after which a run hangs: it tells the stack of every thread and ends with 1. The longest takes ten."""


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code, negative for a signal; what it said; the events it counted, if it came to the end."""

    code: int
    said: str
    events: tuple[str, ...]


class Server:
    """Runs of the light pipeline in processes of their own, without the time that imports take; `real` imports torch as well."""

    def __init__(self, folder: Path, threads: int = 1, *, real: bool = False) -> None:
        self.folder = folder
        (folder / "warm").mkdir()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.server", str(folder / "warm"), "real" if real else "light"], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)},
        )  # fmt: skip

    def run(self, data: Path, workspace: Path, **what: Any) -> Ended:
        """One run. `what`: do = kill | refuse | signal | power, at = number of the event, and what that needs; until = nodes.

        limit = the largest file in bytes, measure = where what a stage holds is written after each shard.
        after = seconds until the process group is sent `number`, counted from when the run has said `says`, or from its start.
        command = what is given to `hardrock`; the data set is then what the configuration says.
        """
        assert self.process.stdin
        assert self.process.stdout
        order = {"data": str(data), "workspace": str(workspace), "out": str(self.folder / "out"), **what}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        events = self.folder / "out.events"
        names = tuple(events.read_text().split("\n")) if events.exists() else ()
        out = self.folder / "out"
        return Ended(code, out.read_text() if out.exists() else "", names)

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def _child(order: dict[str, Any]) -> int:
    from pipeline.cli.guard import guarded
    from pipeline.cli.run import bring

    workspace = Path(order["workspace"])
    sys.argv = ["hardrock", "run"]
    disk, synced = None, None
    if order.get("do") == "power":
        disk = events.Disk(workspace, Path(order["image"] + ".shadow"))
        synced = disk.synced
    act = {
        "kill": lambda: events.kill,
        "refuse": lambda: events.refuse(order["errno"]),
        "signal": lambda: events.send(*order["signals"]),
        "power": lambda: events.lose_power(disk, Path(order["image"]), order["names_kept"]),
    }.get(order.get("do", ""), lambda: events.kill)()
    counter = events.Counter(workspace, order.get("at", -1), act)
    if "do" in order:
        events.install(counter, synced)
    if "tmp" in order:
        tempfile.tempdir = order["tmp"]
    if "limit" in order:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["limit"], resource.RLIM_INFINITY))
    if "measure" in order:
        measure.install(Path(order["measure"]))
    if world.is_real(Path(order["data"])):
        world.train_really()
    if "command" in order:
        from pipeline.cli import main

        sys.argv = ["hardrock", *order["command"]]
        try:
            main()  # it takes no more signals once the run has ended
        except SystemExit as ended:
            return int(ended.code or 0)
    changes, until = order.get("changes", {}), order.get("until")
    code = guarded(lambda: bring(world.runner(Path(order["data"]), workspace, **changes), lambda all: set(all[:until])))
    with os.fdopen(os.open(order["out"] + ".events", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w") as file:
        file.write("\n".join(counter.names))
    return code


def _warm(folder: Path, real: bool) -> None:
    """Imports whatever a run imports: a first run, in a process of its own, says what that is."""
    said = folder / "modules"
    child = os.fork()
    if child == 0:
        before = set(sys.modules)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        data = world.write_data(folder / "data")
        if real:
            world.write_model(data)
        code = _child({"data": str(data), "workspace": str(folder / "ws"), "out": str(said)})
        said.write_text("\n".join(name for name in sys.modules if name not in before and not name.startswith("__")))
        os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    for name in said.read_text().split("\n"):
        with suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # what is there stays: forked processes neither look through it nor copy it


def _wait(child: int, out: Path, says: str) -> None:
    """Until a run has said something, or has ended."""
    while says and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if out.exists() and says in out.read_text(errors="replace"):
            return
        time.sleep(0.005)


def _signal(child: int, number: int) -> None:
    try:
        os.killpg(child, number)
    except ProcessLookupError:  # it has no group of its own yet
        os.kill(child, number)


def _serve() -> None:
    world.lighten()
    _warm(Path(sys.argv[1]), sys.argv[2] == "real")
    for line in sys.stdin:
        order = json.loads(line)
        for left in (order["out"], order["out"] + ".events"):
            Path(left).unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            os.setsid()
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # before the run takes it, it ends the process
            said = os.open(order["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(said, 2)
            os.dup2(said, 1)
            code = 99
            faulthandler.dump_traceback_later(PATIENCE, exit=True)
            try:
                code = _child(order)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        if "after" in order:
            _wait(child, Path(order["out"]), order.get("says", ""))
            time.sleep(order["after"])
            _signal(child, order.get("number", signal.SIGKILL))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    _serve()
