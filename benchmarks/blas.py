"""FAISS at its best: the kernels of its OpenBLAS that are the fastest on this processor.

The wheel of faiss-cpu brings an OpenBLAS that does not know every processor, and is several times slower on one that it
takes for another. What it takes it for can be told it by OPENBLAS_CORETYPE. So a small search is timed in a process of its
own without that variable and with each name that can suit, and FAISS's contenders get the fastest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import NamedTuple

VARIABLE = "OPENBLAS_CORETYPE"
NAMES = ("SkylakeX", "Haswell", "Zen")
_CLEARLY = 0.95  # a name must beat none by more than chance

_PROBE = """
import faiss, numpy, sys, time
values = numpy.random.default_rng(0).standard_normal((12288, {dimensions}), dtype=numpy.float32)
index, best = faiss.IndexFlatIP({dimensions}), float("inf")
index.add(values[:8192])
for _ in range(4):
    begun = time.process_time()
    index.search(values[8192:], 10)
    best = min(best, time.process_time() - begun)
print(best)
"""


class Best(NamedTuple):
    """How FAISS is called, and the sentence that says so."""

    environment: dict[str, str]
    says: str


def fastest(dimensions: int, threads: int) -> Best:
    """The environment that FAISS is the fastest in, for vectors of `dimensions` values. What is set already is left alone."""
    if given := os.environ.get(VARIABLE):
        return Best({VARIABLE: given}, f"FAISS with {VARIABLE}={given}, as the environment has it.")
    plain = _seconds(None, dimensions, threads)
    if plain is None:
        raise SystemExit("FAISS cannot be run")
    found = {name: seconds for name in NAMES if (seconds := _seconds(name, dimensions, threads)) is not None}
    name = min(found, key=lambda each: found[each], default=None)
    if name is None or found[name] > _CLEARLY * plain:
        return Best({}, f"FAISS as it comes: no {VARIABLE} is faster here ({plain:.2f} CPU s for the probe).")
    return Best(
        {VARIABLE: name},
        f"FAISS with {VARIABLE}={name}, its fastest here: {found[name]:.2f} CPU s for the probe, {plain:.2f} without it.",
    )


def _seconds(name: str | None, dimensions: int, threads: int) -> float | None:
    """CPU seconds of the probe; None where this processor cannot run such kernels."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
    if name:
        environment[VARIABLE] = name
    done = subprocess.run(
        [sys.executable, "-c", _PROBE.format(dimensions=dimensions)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return float(done.stdout) if not done.returncode else None
