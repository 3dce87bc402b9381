"""A corpus of many rows goes in with bounded memory: generates a BEIR folder, ingests it, and watches the process.

`python -m benchmarks.ingest --rows 10000000 --limit 1.0`: the limit is of resident memory, in GiB; a process that outgrows it
is killed and the benchmark fails. Every tenth row has a text outside of ASCII, every thousandth repeats an earlier text.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from benchmarks.hardware import describe

WORDS = [
    f"{a}{b}" for a in ("ka", "lo", "mi", "ren", "tas", "vol", "zu", "pe") for b in ("dan", "fir", "gol", "hem", "jus")
]
CONFIG = """
[encoder]
name = "static"
model = "package:wordllama/weights/l2_supercat_256.safetensors"
tokenizer = "package:wordllama/tokenizers/l2_supercat_tokenizer_config.json"

[ingest.dataset]
name = "beir"
path = "beir"
"""
PACE = 0.2  # seconds between two looks at the process


def generate(folder: Path, rows: int, queries: int = 1_000) -> int:
    """A BEIR folder with `rows` documents of about 60 words, as `corpus.jsonl.gz`; returns the bytes before packing.

    A query is half the words of its one positive; many documents share a half of their text.
    """
    chance, size = random.Random(13), 0
    bodies = [
        " ".join(chance.choices(WORDS, k=30)) for _ in range(4_096)
    ]  # the number in front makes each text its own
    (folder / "qrels").mkdir(parents=True)
    with gzip.open(folder / "corpus.jsonl.gz", "wt", encoding="utf-8", compresslevel=1) as file:
        for i in range(rows):
            number = i - 500 if i % 1_000 == 999 else i
            text = f"{number} {_body(bodies, i)}" + (" \u00e9\u4e2d" if i % 10 == 0 else "")
            if number != i:
                text = f"{number} the same"
            line = json.dumps({"_id": f"doc-{i}", "title": f"title {i % 97}", "text": text}, ensure_ascii=False) + "\n"
            size += file.write(line)
    asked = range(0, rows, max(rows // queries, 1))
    with (folder / "queries.jsonl").open("w") as file:
        for i in asked:
            file.write(json.dumps({"_id": f"q{i}", "text": f"{i} {' '.join(_body(bodies, i).split()[::2])}"}) + "\n")
    with (folder / "qrels/train.tsv").open("w") as file:
        file.writelines(["query-id\tcorpus-id\tscore\n", *(f"q{i}\tdoc-{i}\t1\n" for i in asked)])
    return size


def _body(halves: Sequence[str], number: int) -> str:
    """A pair of halves; the same pair comes again after 4,096 × 4,093 documents."""
    return f"{halves[number % 4_096]} {halves[number % 4_093]}"


def watched(
    command: list[str],
    folder: Path,
    limit: float,
    look: Callable[[int], None] | None = None,
    log: IO[bytes] | None = None,
) -> tuple[int, float, float, float]:
    """Runs a command; returns its exit status, peak resident memory (GiB), wall and CPU seconds. Kills it above the limit.

    `look` is called with its id again and again while it runs; `log` takes what it says.
    """
    start = time.perf_counter()
    with subprocess.Popen(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": os.getcwd()}, stdout=log, stderr=log
    ) as process:
        status, peak, used = 0, 0.0, None
        while used is None:
            done, status, usage = os.wait4(process.pid, os.WNOHANG)
            if done:
                used, process.returncode = usage, os.waitstatus_to_exitcode(status)
                break
            peak = max(peak, resident(process.pid))
            if look:
                look(process.pid)
            if peak > limit:
                process.send_signal(signal.SIGKILL)
            time.sleep(PACE)
        peak = max(peak, used.ru_maxrss / 2**20)
    return process.returncode, peak, time.perf_counter() - start, used.ru_utime + used.ru_stime


def resident(pid: int) -> float:
    """Resident memory of a process in GiB; 0 once it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**30


def main() -> None:
    """Generates, ingests, prints the figures; exit status 1 above the limit."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rows", type=int, default=1_000_000)
    asked.add_argument("--limit", type=float, default=1.0, help="GiB of resident memory")
    asked.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    given = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-ingest-", dir=given.folder) as made:
        folder = Path(made)
        start = time.perf_counter()
        size = generate(folder / "beir", given.rows)
        (folder / "hardrock.toml").write_text(CONFIG)
        print(
            f"{given.rows:,} rows, {size / 2**30:.2f} Gi characters, made in {time.perf_counter() - start:.0f} s",
            flush=True,
        )
        command = [sys.executable, "-m", "pipeline.cli", "ingest", "--workspace", "ws"]
        code, peak, wall, cpu = watched(command, folder, given.limit)
        print(describe(1))
        print(
            f"exit {code}, peak {peak:.3f} GiB of {given.limit:g}, {wall:.0f} s, {cpu:.0f} CPU s, {given.rows / wall:,.0f} rows/s"
        )
    sys.exit(code != 0 or peak > given.limit)


if __name__ == "__main__":
    main()
