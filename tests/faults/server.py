"""A process with everything imported and nothing begun: it forks one run of the light pipeline for each line it is given."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code, negative for a signal; what it said; the events it counted, if it came to the end."""

    code: int
    said: str
    events: tuple[str, ...]


class Server:
    """Runs of the light pipeline in processes of their own, without the time that imports take."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.server"], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def run(self, data: Path, workspace: Path, **what: Any) -> Ended:
        """One run. `what`: do = kill | refuse | signal | power, at = number of the event, and what that needs."""
        assert self.process.stdin
        assert self.process.stdout
        order = {"data": str(data), "workspace": str(workspace), "out": str(self.folder / "out"), **what}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        events = self.folder / "out.events"
        names = tuple(events.read_text().split("\n")) if events.exists() else ()
        return Ended(code, (self.folder / "out").read_text(), names)

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def _child(order: dict[str, Any]) -> int:
    from pipeline.cli.guard import guarded
    from pipeline.cli.run import bring
    from tests.faults import events, world

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
    changes = order.get("changes", {})
    code = guarded(lambda: bring(world.runner(Path(order["data"]), workspace, **changes), set))
    with os.fdopen(os.open(order["out"] + ".events", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w") as file:
        file.write("\n".join(counter.names))
    return code


def _serve() -> None:
    import bm25s  # noqa: F401
    import duckdb  # noqa: F401
    import faiss  # noqa: F401
    import ir_measures  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import rich.progress  # noqa: F401

    from pipeline import plan
    from pipeline.cli import run
    from tests.faults import events, world  # noqa: F401 - events is the children's

    world.lighten()
    for stage in plan.STAGES:
        plan.spec(stage)
    with tempfile.TemporaryDirectory() as warm:  # what libraries do once they have then done for all runs
        run.bring(world.runner(world.write_data(Path(warm) / "data"), Path(warm) / "ws"), set)
    for line in sys.stdin:
        order = json.loads(line)
        Path(order["out"] + ".events").unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            said = os.open(order["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(said, 2)
            os.dup2(said, 1)
            code = 99
            try:
                code = _child(order)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        if "after" in order:
            time.sleep(order["after"])
            os.kill(child, order.get("number", signal.SIGKILL))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    _serve()
