"""What each kind of index costs at a size, and which nprobe or ef_search reaches a recall: the table of `auto`.

python -m benchmarks.indexes --documents 50000 200000 --queries 2000

CPU seconds at one thread. Recall is the share of the exact 100 best, on all queries. The parameter doubles until the
recall is reached, so the one that is shown is within a factor of two of the least that would do.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np

from benchmarks.hardware import describe
from benchmarks.vectors import write
from stages.indexes.auto import cells
from stages.indexes.factory import Factory
from stages.indexes.flat import Flat

DEPTH = 100
FAISS_NAMES = {"nprobe": "nprobe", "ef_search": "efSearch"}


class Blocks:
    """An array in blocks, as often as asked."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.values[i : i + 65_536] for i in range(0, len(self.values), 65_536))


def main() -> None:
    """Prints one row an index and size."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--documents", type=int, nargs="+", default=[20_000, 100_000])
    asked.add_argument("--queries", type=int, default=2_000)
    asked.add_argument("--dimensions", type=int, default=384)
    asked.add_argument("--recall", type=float, default=0.95)
    asked.add_argument("--graph-to", type=int, default=50_000, help="HNSW is built up to this many documents")
    given = asked.parse_args()
    print(describe(1), "", sep="\n")
    print("| Documents | Index | Parameter | Recall | Build CPU s | Search CPU s per 1,000 queries |")
    print("|---:|---|---|---:|---:|---:|")
    for documents in given.documents:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), given.queries, documents, given.dimensions, 0)
            corpus, queries = np.load(f"{folder}/documents.npy"), np.load(f"{folder}/queries.npy")
        best = _flat(corpus, queries)
        lists = cells(documents)
        coded = f"IVF{lists},PQ{given.dimensions // 4}x4fs,RFlat"
        kinds = [(f"IVF{lists},Flat", None, "nprobe", 16), *((coded, factor, "nprobe", 16) for factor in (4, 8))]
        if documents <= given.graph_to:
            kinds.append(("HNSW32", None, "ef_search", 128))
        for factory, factor, parameter, start in kinds:
            kind = Factory(factory=factory, train_rows=64 * lists, refine_factor=factor)
            _sweep(kind, parameter, start, (corpus, queries, best), given.recall)


def _flat(corpus: np.ndarray, queries: np.ndarray) -> np.ndarray:
    searcher, built = _timed(lambda: Flat().build(Blocks(corpus), *corpus.shape))
    (_, rows), spent = _timed(lambda: searcher.search(queries, DEPTH))
    _print([f"{len(corpus):,}", "flat", "", "1.000"], built, spent / len(queries))
    return rows


def _sweep(kind: Factory, parameter: str, value: int, vectors: tuple[np.ndarray, ...], wanted: float) -> None:
    """One row a value. `vectors` are corpus, queries, and the rows of the best documents."""
    import faiss

    corpus, queries, best = vectors
    searcher, built = _timed(lambda: kind.build(Blocks(corpus), *corpus.shape))
    refined = f", refine_factor {kind.refine_factor:g}" if kind.refine_factor else ""
    while True:
        faiss.ParameterSpace().set_index_parameter(searcher.index, FAISS_NAMES[parameter], value)
        (_, rows), spent = _timed(lambda: searcher.search(queries, DEPTH))
        recall = float(np.mean([np.isin(a, b).mean() for a, b in zip(rows, best, strict=True)]))
        _print(
            [f"{len(corpus):,}", kind.factory, f"{parameter} {value}{refined}", f"{recall:.3f}"],
            built,
            spent / len(queries),
        )
        if recall >= wanted or value >= 512:
            return
        value *= 2


def _print(what: list[str], built: float, each: float) -> None:
    print(f"| {' | '.join([*what, f'{built:.1f}', f'{1_000 * each:.2f}'])} |", flush=True)


def _timed(work):
    start = time.process_time()
    return work(), time.process_time() - start


if __name__ == "__main__":
    main()
