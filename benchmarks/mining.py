"""Mining side by side with its peers: the same vectors, depth and rules, each contender in a process of its own.

make bench                                  a small run, about a minute
make bench-mining                           the default sizes
python -m benchmarks.mining --help          other sizes, other vectors, a million documents

Contenders take turns, so that a busy moment of the machine does not meet one of them alone, and the median is reported.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import blas
from benchmarks.hardware import describe

SEARCH = {
    "ours": "Hardrock, {index}",
    "faiss-16384": "FAISS IndexFlatIP, batches of 16,384",
    "faiss-4096": "FAISS IndexFlatIP, batches of 4,096",
    "st-similarity": "sentence-transformers, as mine_hard_negatives without FAISS",
    "st-semantic": "sentence-transformers, semantic_search",
    "faiss-64": "FAISS in batches of 64, as FlagEmbedding",
}
TRIPLETS = {
    "triplets-ours": "Hardrock, {index}",
    "triplets-st-faiss": "mine_hard_negatives, use_faiss=True",
    "triplets-st": "mine_hard_negatives, use_faiss=False",
}
LARGE = {name: SEARCH[name] for name in ("ours", "faiss-16384")}


@dataclass
class Runs:
    """What the runs of one contender gave."""

    title: str
    runs: list[dict[str, Any]] = field(default_factory=list)

    def __getitem__(self, key: str) -> float:
        return median(float(run[key]) for run in self.runs)

    @property
    def spent(self) -> float:
        return sum(run["wall"] for run in self.runs)


def main() -> None:
    """Measures and prints Markdown."""
    asked = _arguments()
    asked.faiss = blas.fastest(asked.dimensions, asked.threads)
    with tempfile.TemporaryDirectory(dir=asked.scratch, prefix="bench-") as place:
        folder = Path(place)
        _prepare(asked, folder, texts=not asked.million)
        lines, tables = _head(asked, folder), []
        _say("\n".join(lines))
        if asked.only != "triplets":
            tables.append(search_table(measure(LARGE if asked.million else SEARCH, asked, folder), asked, folder))
        if asked.only != "search" and not asked.million:
            tables.append(triplets_table(measure(TRIPLETS, asked, folder), asked))
    text = "\n".join([*lines, "", "\n\n".join(tables), ""])
    _say("\n" + "\n\n".join(tables))
    if asked.out:
        asked.out.write_text(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes and one run each, about a minute")
    parser.add_argument("--million", action="store_true", help="10,000 × 1,000,000 from a mapped file, search alone")
    parser.add_argument("--only", choices=("search", "triplets"), help="one of the two tables")
    parser.add_argument("--queries", type=int, help="10,000 unless told; 2,000 with --quick")
    parser.add_argument(
        "--documents", type=int, help="50,000 unless told; 20,000 with --quick; 1,000,000 with --million"
    )
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--depth", type=int, default=100, help="candidates a query")
    parser.add_argument("--negatives", type=int, default=7)
    parser.add_argument("--index", default="", help='TOML table of our index, such as name = "flat"')
    parser.add_argument("--vectors", type=Path, help="a .npy file (n, d): documents first, then queries")
    parser.add_argument("--repeats", type=int, help="runs of each contender; 5 unless told, 1 with --quick")
    parser.add_argument("--seconds", type=float, default=45, help="a contender that took this long is not run again")
    parser.add_argument("--threads", type=int, default=1, help="threads of each contender")
    parser.add_argument("--block-queries", type=int, default=16_384, help="queries a call of our search")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--scratch", type=Path, help="where the vectors are kept while it runs; the system's own unless told"
    )
    parser.add_argument("--out", type=Path, help="a file for the tables")
    asked = parser.parse_args()
    if asked.vectors:
        asked.dimensions = int(np.load(asked.vectors, mmap_mode="r").shape[1])
    quick, million = asked.quick, asked.million
    asked.queries = asked.queries or (2_000 if quick else 10_000)
    asked.documents = asked.documents or (1_000_000 if million else 20_000 if quick else 50_000)
    asked.repeats = asked.repeats or (1 if quick else 5)
    asked.index = tomllib.loads(asked.index.replace(",", "\n")) if asked.index else {"name": default_index()}
    return asked


def default_index() -> str:
    """The best exact index that is installed."""
    from stages.registry import names

    return "exact" if "exact" in names("indexes") else "flat"


def _prepare(asked: argparse.Namespace, folder: Path, texts: bool) -> None:
    """Vectors, and tables as ingest would write them. In a process of its own, so that this one stays small."""
    given = {
        key: str(value) if isinstance(value, Path) else value for key, value in vars(asked).items() if key != "faiss"
    }
    subprocess.run(
        [sys.executable, "-m", "benchmarks.prepare", str(folder), json.dumps({**given, "texts": texts})], check=True
    )


def _head(asked: argparse.Namespace, folder: Path) -> list[str]:
    size = (asked.queries + asked.documents) * asked.dimensions * 4 / 2**20
    kind = asked.vectors.name if asked.vectors else f"clustered vectors, seed {asked.seed}"
    return [
        f"{asked.queries:,} queries × {asked.documents:,} documents × {asked.dimensions}, depth {asked.depth}; {kind}",
        describe(asked.threads),
        asked.faiss.says,
        f"The vectors alone take {size:,.0f} MB. Medians of up to {asked.repeats} runs.",
    ]


def measure(contenders: dict[str, str], asked: argparse.Namespace, folder: Path) -> dict[str, Runs]:
    """Runs the contenders in turns: `repeats` times, or until one has used up its seconds."""
    index = ", ".join(f"{key} = {value}" if key != "name" else str(value) for key, value in asked.index.items())
    all_runs = {name: Runs(title.format(index=index)) for name, title in contenders.items()}
    for _ in range(asked.repeats):
        for name, runs in all_runs.items():
            if not runs.runs or runs.spent < asked.seconds:
                runs.runs.append(once(name, asked, folder))
                _say(f"  {name}: {runs.runs[-1]['cpu']:.2f} CPU s")
    return all_runs


def once(name: str, asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One run of a contender in a new process."""
    options = {
        "index": asked.index,
        "depth": min(asked.depth, asked.documents),
        "negatives": asked.negatives,
        "threads": asked.threads,
        "block_queries": asked.block_queries,
        "mapped": bool(asked.million),
    }
    more = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(asked.threads))
    more |= asked.faiss.environment if "faiss" in name else {}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.contenders", name, str(folder), json.dumps(options)],
        env={**os.environ, **more, "OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-4_000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def search_table(search: dict[str, Runs], asked: argparse.Namespace, folder: Path) -> str:
    """The search alone: from vectors to the rows of the best documents."""
    reference, proven = _reference(search, folder)
    rows = []
    for name, runs in search.items():
        found = np.load(folder / "hits" / f"{name}.npy", mmap_mode="r")
        recall = recall_of(found, reference, folder)
        rows.append([runs.title, *_figures(runs, search["ours"]), f"{recall:.4f}"])
    note = "the certified result of our search" if proven else "a float32 search over all documents"
    split = search["ours"].runs[-1]["split"]
    return "\n".join(
        [
            "### Search",
            "",
            *_table(["Recall"], rows),
            "",
            f"Recall is held against {note}, by score. Our split in CPU s: {_split(split)}.",
        ]
    )


def triplets_table(found: dict[str, Runs], asked: argparse.Namespace) -> str:
    """From vectors to written triplets."""
    rows = []
    for runs in found.values():
        last = runs.runs[-1]
        full = f"{last['full'] / asked.queries:.1%}"
        rows.append([runs.title, *_figures(runs, found["triplets-ours"]), full, f"{last['triplets']:,}"])
    split, candidates = found["triplets-ours"].runs[-1]["split"], found["triplets-ours"].runs[-1]["candidates"]
    chosen = split["judge"] + split["sample"]
    return "\n".join(
        [
            f"### From vectors to written triplets: relative margin .05, {asked.negatives} negatives",
            "",
            *_table([f"Queries with all {asked.negatives}", "Triplets"], rows),
            "",
            f"Our split in CPU s: {_split(split)}.",
            f"Judging and sampling {candidates:,} candidates took {chosen:.2f} CPU s, "
            f"{chosen / split['mine']:.2f} of the search that found them.",
        ]
    )


def recall_of(found: np.ndarray, reference: np.ndarray, folder: Path, sample: int = 1_000) -> float:
    """Share of the reference's documents that are found, up to ties within float32 rounding, on a sample of queries."""
    queries = np.load(folder / "queries.npy", mmap_mode="r")
    documents = np.load(folder / "documents.npy", mmap_mode="r")
    picked = np.linspace(0, len(found) - 1, min(sample, len(found))).astype(int)
    hits = total = 0
    for row in picked:
        query = queries[row].astype(np.float64)
        least = (documents[reference[row][reference[row] >= 0]].astype(np.float64) @ query).min()
        mine = np.unique(found[row][found[row] >= 0])
        hits += int((documents[mine].astype(np.float64) @ query >= least - 1e-6).sum())
        total += int((reference[row] >= 0).sum())
    return hits / total


def _reference(search: dict[str, Runs], folder: Path) -> tuple[np.ndarray, bool]:
    proven = bool(search["ours"].runs[-1]["exact"])
    name = "ours" if proven else "faiss-16384"
    return np.load(folder / "hits" / f"{name}.npy", mmap_mode="r"), proven


def _figures(runs: Runs, ours: Runs) -> list[str]:
    return [
        f"{runs['cpu']:.2f}",
        f"{runs['cpu'] / ours['cpu']:.2f}",
        f"{runs['wall']:.2f}",
        f"{runs['peak']:,.0f}",
        f"{runs['peak'] - runs['before']:,.0f}",
        f"{runs['peak'] / ours['peak']:.2f}",
        str(len(runs.runs)),
    ]


def _table(more: list[str], rows: list[list[str]]) -> list[str]:
    names = ["", "CPU s", "× ours", "Wall s", "Peak MB", "of it above its inputs", "× ours", "Runs", *more]
    lines = [names, ["---", *["---:"] * (len(names) - 1)], *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _split(split: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in split.items())


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
