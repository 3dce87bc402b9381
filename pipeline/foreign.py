"""FAISS files that were made elsewhere: opened and searched in a process of their own first, which may die of them.

A hash says that a file is the one that was pushed, not that whoever pushed it meant well. FAISS reads sizes and numbers of
neighbours out of the file and believes most of them: a file can ask for all memory, or lead a search out of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from stages.errors import ArtefactError

SUFFIX = ".faiss"

_ARRAY = b"\x93NUMPY"
"""How the exact index' file begins: rows of numbers that are mapped, and read by no code of FAISS."""

SECONDS = 600
"""A child that takes longer is ended: a small file can ask for an endless search."""

_OPEN = """
import resource, sys
import faiss, numpy
size = int(sys.argv[2])
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 8 * size + (1 << 30),) * 2)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
faiss.omp_set_num_threads(1)
faiss.set_deserialization_vector_byte_limit(max(1 << 20, 8 * size))
index = faiss.read_index(sys.argv[1])
queries = numpy.random.default_rng(0).standard_normal((256, index.d), dtype=numpy.float32)
scores, rows = index.search(queries, max(1, min(100, index.ntotal)))
if rows.size and not -1 <= rows.min() <= rows.max() < max(index.ntotal, 1):
    sys.exit("rows that are not in it")
"""


def refuse_hostile(path: Path, shown: str) -> None:
    """Raises ArtefactError when a process that opens and searches the index ends otherwise than well, whatever it dies of."""
    with path.open("rb") as file:
        if file.read(len(_ARRAY)) == _ARRAY:
            return
    try:
        done = subprocess.run(
            [sys.executable, "-c", _OPEN, str(path), str(path.stat().st_size)],
            capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        got = f"no end after {SECONDS} seconds"
    else:
        if done.returncode == 0:
            return
        last = (done.stderr.strip().splitlines() or [""])[-1][:200]
        got = signal.Signals(-done.returncode).name if done.returncode < 0 else last
    raise ArtefactError(
        "an index that a process of its own could not open and search",
        where=shown, got=got, try_="do not use it: build the index here, and ask where it comes from",
    )  # fmt: skip
