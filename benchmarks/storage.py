"""What narrower vectors cost: whole workspaces, from raw text to triplets and held-out metrics, against float32 with all dimensions.

`python -m benchmarks.storage`: for each model and form of its vectors one line of the table in docs/embedding.md. Bytes are those of the files of
the corpus over its rows, key and row included; "same" are the candidates of all training queries that float32 with all dimensions
has as well among its first 10 and 100, and the triplets that it has; nDCG@10 and Recall@100 are of the test queries, before training.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.hardware import describe
from pipeline.source import TableSource
from pipeline.store import Workspace

MODELS = {"MiniLM": ("default", 384, (192, 96)), "static, Matryoshka": ("static", 256, (128, 64))}
"""Configuration, dimensions, and the dimensions to which vectors are cut."""

STORAGE = ("float32", "float16", "int8")


class Seen(NamedTuple):
    """What a workspace holds."""

    bytes: float
    candidates: dict[int, np.ndarray]  # query·2^24 + document of the first k, by k
    triplets: np.ndarray  # a number for each triplet's three rows, sorted
    metrics: dict[str, tuple[float, float, float]]


def run(place: Path, name: str, settings: list[str]) -> None:
    """Brings a workspace as far as triplets and the metrics of round 0."""
    given = [part for one in settings for part in ("--set", one)]
    for stage in (("sample",), ("evaluate", "--round", "0")):
        command = [
            sys.executable,
            "-m",
            "pipeline.cli",
            *stage,
            "--config",
            f"configs/{name}.toml",
            "--workspace",
            str(place),
        ]
        subprocess.run(
            [*command, "--device", "cpu", *given],
            check=True,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )


def look(place: Path) -> Seen:
    """What the workspace holds."""
    embed = Workspace(place).manifest("round-00/embed")
    assert embed is not None
    stored = embed.record.tables["corpus_vectors"]
    found = table(place, "mine", "candidates", ["query_row", "doc_row", "rank"])
    first = {k: pairs(found.filter(pc.less_equal(found["rank"], k)), "doc_row") for k in (10, 100)}
    rows = table(place, "sample", "triplets", ["query_row", "positive_row", "negative_row"])
    triplets = pairs(rows, "positive_row") * 1_000_003 + rows["negative_row"].to_numpy()  # rows are far fewer
    metrics = table(place, "evaluate", "metrics", None)
    metrics = metrics.filter(
        pc.and_(pc.is_null(metrics["query_row"]), pc.equal(metrics["system"].cast(pa.string()), "dense"))
    )
    means = {f"{m['measure']}@{m['cutoff']}": (m["value"], m["low"], m["high"]) for m in metrics.to_pylist()}
    return Seen(
        sum(one.bytes for one in stored) / sum(one.rows or 0 for one in stored), first, np.unique(triplets), means
    )


def table(place: Path, stage: str, name: str, columns: list[str] | None) -> pa.Table:
    """A table of round 0."""
    workspace = Workspace(place)
    manifest = workspace.manifest(f"round-00/{stage}")
    assert manifest is not None
    return TableSource(workspace.final(f"round-00/{stage}"), name, manifest, {}).read(columns)


def pairs(rows: pa.Table, document: str) -> np.ndarray:
    """A number for each query and document: int64 (n,)."""
    found: np.ndarray = (rows["query_row"].to_numpy().astype(np.int64) << 24) + rows[document].to_numpy()
    return found


def line(model: str, form: str, seen: Seen, whole: Seen) -> str:
    """A row of the table."""
    same = [np.isin(whole.candidates[k], seen.candidates[k]).mean() for k in (10, 100)]
    kept = np.isin(whole.triplets, seen.triplets).mean()
    (ndcg, low, high), recall = seen.metrics["nDCG@10"], seen.metrics["Recall@100"][0]
    shares = " | ".join(f"{share:.3f}" for share in (*same, kept))
    return f"| {model} | {form} | {seen.bytes:,.0f} | {shares} | {ndcg:.4f} ({low:.3f} to {high:.3f}) | {recall:.4f} |"


def main() -> None:
    """Prints the table."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--folder", type=Path, help="where the workspaces are kept; default: a temporary folder")
    asked.add_argument("only", nargs="*", help="configurations; default: both")
    given = asked.parse_args()
    print(describe(1))
    print(
        "\n| Model | Vectors | Bytes each | Same 10 | Same 100 | Same triplets | nDCG@10 | Recall@100 |\n|---|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory(prefix="bench-storage-") as made:
        folder = given.folder or Path(made)
        for model, (name, width, cuts) in MODELS.items():
            whole: Any = None
            if given.only and name not in given.only:
                continue
            for dimensions in (width, *cuts):
                for storage in STORAGE:
                    place = (folder / f"{name}-{dimensions}-{storage}").absolute()
                    cut = [] if dimensions == width else [f"encoder.dimensions={dimensions}"]
                    run(place, name, [f'embed.storage="{storage}"', *cut])
                    seen = look(place)
                    whole = whole or seen
                    print(line(model, f"{dimensions}, {storage}", seen, whole), flush=True)


if __name__ == "__main__":
    main()
