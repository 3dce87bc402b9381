"""Millions of documents from raw text to exported negatives in bounded memory, with the memory of every stage over its time.

`python -m benchmarks.scale --rows 2000000 --limit 6`: the limit is of resident memory in GiB, mapped files included; a process that
outgrows it is killed and the benchmark fails. Each stage is a process of its own. The curve is of the memory that the process holds
for itself (resident, without mapped files), the most in each tenth of the stage's time: flat is what does not rise from left to right.
Texts are generated; the encoder is a static model of 256 dimensions.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.hardware import describe
from benchmarks.ingest import CONFIG, generate, watched

STAGES = ("ingest", "embed", "index", "mine", "judge", "sample", "export")

SETTINGS = """
[judge.filters.known_positive]
[judge.filters.same_text]
"""

KEYS = ("RssAnon", "RssFile")


class Curve:
    """What a process holds for itself and what of files is mapped, in GiB, over its time."""

    def __init__(self) -> None:
        self.own: list[float] = []
        self.mapped: list[float] = []

    def look(self, pid: int) -> None:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            return
        found = {key: value for key, _, value in (line.partition(":") for line in lines) if key in KEYS}
        if len(found) == len(KEYS):  # a process that has just ended has none
            self.own.append(int(found["RssAnon"].split()[0]) / 2**20)
            self.mapped.append(int(found["RssFile"].split()[0]) / 2**20)

    def tenths(self) -> list[float]:
        """The most of its own in each tenth of the time."""
        size = len(self.own)
        return [max(self.own[size * i // 10 : max(size * (i + 1) // 10, size * i // 10 + 1)]) for i in range(10)]


def main() -> None:
    """Generates, runs every stage, prints the curves; exit status 1 above the limit."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rows", type=int, default=2_000_000)
    asked.add_argument("--queries", type=int, default=4_000)
    asked.add_argument("--limit", type=float, default=6.0, help="GiB of resident memory")
    asked.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    asked.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the configuration")
    given = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-scale-", dir=given.folder) as made:
        folder, begun = Path(made), time.perf_counter()
        size = generate(folder / "beir", given.rows, given.queries)
        (folder / "hardrock.toml").write_text(CONFIG + SETTINGS)
        print(describe(1))
        print(
            f"{given.rows:,} documents, {size / 2**30:.2f} Gi characters, {given.queries:,} queries; made in {time.perf_counter() - begun:.0f} s"
        )
        print(
            f"{'stage':8} {'wall s':>7} {'CPU s':>7} {'peak':>6} {'mapped':>6}   GiB of its own, the most in each tenth",
            flush=True,
        )
        settings = [part for one in given.set for part in ("--set", one)]
        for stage in STAGES:
            curve = Curve()
            command = [sys.executable, "-m", "pipeline.cli", stage, "--workspace", "ws", "--device", "cpu", *settings]
            with (folder / f"{stage}.log").open("wb") as log:
                code, peak, wall, cpu = watched(command, folder, given.limit, curve.look, log)
            tenths = " ".join(f"{value:5.2f}" for value in curve.tenths())
            print(f"{stage:8} {wall:7.0f} {cpu:7.0f} {peak:6.2f} {max(curve.mapped):6.2f}   {tenths}", flush=True)
            if code or peak > given.limit:
                print((folder / f"{stage}.log").read_text()[-2000:])
                sys.exit(f"{stage} ended with {code}, peak {peak:.2f} GiB of {given.limit:g}")


if __name__ == "__main__":
    main()
