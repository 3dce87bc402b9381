"""A Ray of two nodes on this machine, each in a session of its own, so that one can be killed as a machine is."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

PATIENCE = 900.0
"""Seconds that are waited for what takes a few on an idle machine: long, since a machine that others use too is slow."""

TRIES = 5
"""Starts of a node."""

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "HF_HUB_OFFLINE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_initial_delay_ms": "500",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
}


def wait_until(ready: Callable[[], object], seconds: float = 60, every: float = 0.002) -> bool:
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > until:
            return False
        time.sleep(every)
    return True


@dataclass(frozen=True)
class Process:
    """A line of /proc."""

    pid: int
    parent: int
    command: str


def processes() -> Iterator[Process]:
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):
            stat = (place / "stat").read_text().rpartition(")")[2].split()
            if stat[0] != "Z":
                command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                yield Process(int(place.name), int(stat[1]), command)


def below(top: int) -> list[Process]:
    """A process and all that come from it."""
    every = list(processes())
    found, more = [], [one for one in every if one.pid == top]
    while more:
        found += more
        known = {one.pid for one in more}
        more = [one for one in every if one.parent in known]
    return found


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


SWEEP = """
import os, signal, sys, time
from pathlib import Path
sessions = {line.strip() for line in sys.stdin}
for _ in range(5):
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (place / "stat").read_text().rpartition(")")[2].split()[3] in sessions:
                os.kill(int(place.name), signal.SIGKILL)
        except (OSError, IndexError):
            pass
    time.sleep(0.1)
"""
"""Waits for the end of its input, and then kills every process of the sessions whose numbers it has read."""


COUNT = """
import sys, ray
ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
for _ in sys.stdin:
    print("cpus", int(sum(n["Resources"].get("CPU", 0) for n in ray.nodes() if n["Alive"])), flush=True)
"""


class Sweeper:
    """Ends all nodes when the process of the tests ends, however that ends: a Ray that is left behind runs for ever."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SWEEP], stdin=subprocess.PIPE, text=True, start_new_session=True
        )

    def watch(self, session: int) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{session}\n")
        self.process.stdin.flush()

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


class Node:
    """One `ray start --block` and what it starts."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.log = (folder / f"node-{time.monotonic_ns()}.log").open("w")
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", "--disable-usage-stats",
                "--object-store-memory=80000000", *arguments,
            ],
            env=ENVIRONMENT, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True, cwd=folder,
        )  # fmt: skip

    def said(self) -> str:
        return Path(self.log.name).read_text(errors="replace")

    def runs(self) -> bool:
        return "Ray runtime started" in self.said()

    def workers(self) -> list[int]:
        """Processes of actors of ours."""
        return [one.pid for one in below(self.process.pid) if one.command.startswith("ray::Worker")]

    def kill(self) -> None:
        """Ends the node and its workers as a power cut does: all at once and without a word."""
        for _ in range(3):
            for one in below(self.process.pid):
                with suppress(ProcessLookupError):
                    os.kill(one.pid, signal.SIGKILL)
            time.sleep(0.02)
        self.process.wait()
        self.log.close()


class Cluster:
    """A head and a second node, one CPU each."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hr-", dir="/tmp"))  # sockets below it have short paths
        self.sweeper = Sweeper()
        self.counter: subprocess.Popen[str] | None = None
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.head = self._begin(
            "--head", f"--port={self.port}", "--include-dashboard=false", f"--temp-dir={self.folder}"
        )
        self.second = self.join()

    def join(self) -> Node:
        """A second node, once it counts."""
        self.second = self._begin(f"--address={self.address}")
        assert wait_until(lambda: self._cpus() == 2, PATIENCE, 0.3), "the second node does not join"
        return self.second

    def _begin(self, *arguments: str) -> Node:
        """A node that runs. Ray gives itself 30 seconds to start one, which a busy machine may not keep: then once more."""
        for _ in range(TRIES):
            node = Node(self.folder, *arguments)
            self.sweeper.watch(node.process.pid)
            wait_until(lambda: node.runs() or node.process.poll() is not None, PATIENCE, 0.1)  # noqa: B023
            if node.process.poll() is None:
                return node
            node.kill()
        raise AssertionError(f"a node does not start: {node.said()[-2000:]}")

    def _cpus(self) -> int:
        """CPUs of the nodes that are there, from a process that stays: to begin one takes seconds of a processor."""
        if self.counter is None:
            self.counter = subprocess.Popen(
                [sys.executable, "-c", COUNT, self.address],
                env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
            )  # fmt: skip
            self.sweeper.watch(self.counter.pid)
        assert self.counter.stdin
        assert self.counter.stdout
        self.counter.stdin.write("\n")
        self.counter.stdin.flush()
        while not (line := self.counter.stdout.readline()).startswith("cpus "):  # the rest is Ray's own talk
            assert line, "the cluster is not to be reached"
        return int(line.split()[1])

    def workers(self) -> list[int]:
        return self.head.workers() + self.second.workers()

    def close(self) -> None:
        if self.counter is not None:
            self.counter.kill()
            self.counter.communicate()
        self.second.kill()
        self.head.kill()
        self.sweeper.close()
        shutil.rmtree(self.folder, ignore_errors=True)
