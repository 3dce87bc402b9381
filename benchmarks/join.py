"""The exact join against FAISS IndexFlatIP: same vectors, same k, each run in a process of its own.

    python -m benchmarks.join --documents 100000 --queries 20000
    python -m benchmarks.join --device cuda --methods faiss "exact auto" "exact bf16" "exact fp32"

Rounds alternate between the methods. CPU seconds at one thread; the ratio is that of the medians. `proven` adds what makes
the result exact in float64, ties included, to either method. Peak memory is that of the searching process, vectors included.
`--limit 4` gives the searching process an address space of 4 GiB and no more, its mapped vectors and libraries in it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import blas
from benchmarks.hardware import describe

METHODS = ("faiss", "faiss proven", "exact auto", "exact bf16", "exact int8", "exact fp32")
_BATCH = 16_384  # FAISS's best


def vectors(place: Path, rows: int, dimensions: int, seed: int) -> None:
    """Writes unit vectors around 2,000 centres, with the uneven spread over directions that text has."""
    import numpy as np

    spread = (1 + np.arange(dimensions) / 40) ** -0.5
    centres = np.random.default_rng(0).standard_normal((2000, dimensions)) * spread
    random = np.random.default_rng(seed)
    out = np.lib.format.open_memmap(place, "w+", "<f4", (rows, dimensions))
    for start in range(0, rows, 20_000):
        part = out[start : start + 20_000]
        values = centres[random.integers(0, 2000, len(part))] + random.standard_normal(part.shape) * spread
        part[:] = values / np.linalg.norm(values, axis=1, keepdims=True)
    out.flush()


def measure(method: str, folder: Path, k: int, device: str) -> None:
    """Runs one method and prints its figures as JSON."""
    import numpy as np

    from stages.indexes.exact import Exact
    from stages.indexes.flat import Flat
    from stages.search import certified_search

    corpus, queries = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("corpus", "queries"))
    corpus, kernel = np.asarray(corpus), None
    if method.startswith("faiss"):
        searcher = Flat().build([corpus], *corpus.shape)
    else:
        searcher = Exact(kernel=method.split()[1], device=device).load(folder / "corpus.npy", *corpus.shape)
        corpus = searcher.vectors  # mapped once
        import stages.compiled.products  # noqa: F401 - as FAISS, it is loaded before the clock starts

        kernel = searcher.kernel.name  # and the kernel chosen
    cpu, wall, rows = time.process_time(), time.perf_counter(), []
    for start in range(0, len(queries), _BATCH):
        block = np.ascontiguousarray(queries[start : start + _BATCH])
        if method == "faiss":
            rows.append(searcher.search(block, k)[1])
        else:
            rows.append(certified_search(searcher, block, corpus, k, True, longest_document=1.0001).rows)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    np.save(folder / f"{method}.rows.npy", np.concatenate(rows))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"cpu": cpu, "wall": wall, "peak": peak, "kernel": kernel}))


def recall(folder: Path, method: str, truth: str) -> float:
    """Share of the rows of one method that another found."""
    import numpy as np

    found, best = (np.load(folder / f"{name}.rows.npy").astype(np.int64) for name in (method, truth))
    both = np.sort(np.concatenate([found, best], axis=1), axis=1)
    return float((both[:, 1:] == both[:, :-1]).sum() / best.size)


def main() -> None:
    """Prints one line a method."""
    parser = argparse.ArgumentParser(description="the exact join against FAISS flat")
    for name, default in (("documents", 100_000), ("queries", 20_000), ("dimensions", 384), ("depth", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="of the exact join; FAISS stays on the CPU"
    )
    parser.add_argument("--methods", nargs="+", default=list(METHODS[:4]), choices=METHODS)
    parser.add_argument(
        "--folder", type=Path, help="where the vectors are kept while it runs; the system's own unless told"
    )
    parser.add_argument("--limit", type=float, help="GiB of address space of each search")
    parser.add_argument("--measure", choices=METHODS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        if given.limit:
            resource.setrlimit(resource.RLIMIT_AS, (int(given.limit * 2**30),) * 2)
        measure(given.measure, given.folder, given.depth, given.device)
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        vectors(folder / "corpus.npy", given.documents, given.dimensions, 1)
        vectors(folder / "queries.npy", given.queries, given.dimensions, 2)
        _table(given, folder)


def _table(given: argparse.Namespace, folder: Path) -> None:
    plain = os.environ | {"OMP_NUM_THREADS": str(given.threads), "OMP_WAIT_POLICY": "passive"}
    best = blas.fastest(given.dimensions, given.threads)
    figures: dict[str, list[dict]] = {method: [] for method in given.methods}
    for _ in range(given.rounds):
        for method in given.methods:
            command = [sys.executable, "-m", "benchmarks.join", "--measure", method]
            command += ["--folder", str(folder), "--depth", str(given.depth), "--device", given.device]
            command += ["--limit", str(given.limit)] if given.limit else []
            environment = plain | (best.environment if method.startswith("faiss") else {})
            done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            figures[method].append(json.loads(done.stdout))
    middle = {
        method: {key: statistics.median(run[key] for run in runs) for key in ("cpu", "wall", "peak")}
        for method, runs in figures.items()
    }
    truth = next((m for m in given.methods if m != "faiss"), given.methods[0])
    print(f"{given.queries} queries × {given.documents} documents × {given.dimensions}, k = {given.depth}; ", end="")
    print(f"median of {given.rounds}\n{describe(given.threads)}\n{best.says}")
    print(f"{'method':<16}{'kernel':>8}{'CPU s':>9}{'wall s':>9}{'faster':>8}{'peak MB':>9}{'recall':>10}")
    for method, row in middle.items():
        faster = middle[given.methods[0]]["cpu"] / row["cpu"]
        print(
            f"{method:<16}{figures[method][0]['kernel'] or '-':>8}{row['cpu']:>9.2f}{row['wall']:>9.2f}{faster:>8.2f}"
            f"{row['peak']:>9.0f}{recall(folder, method, truth):>10.6f}"
        )


if __name__ == "__main__":
    main()
