"""Many shards, many rounds, any number of threads: nothing grows, and nothing of the result changes."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.faults import measure, world
from tests.faults.conftest import Bench
from tests.faults.server import Server

GROWTH = 8 << 20
"""Bytes that memory may differ by: what an allocator keeps. A shard's tables held a hundred times over would be more."""


def flat(rows: list[dict[str, int]], first: int) -> None:
    """Nothing grows from measurement number `first` on."""
    start, *later = rows[first:]
    for row in later:
        assert row["memory"] - start["memory"] < GROWTH, (start, row)
        # One more or less: the next shard is read ahead in a thread, and may have its file open or not.
        assert row["files"] - start["files"] <= 1, (start, row)
        assert row["temporaries"] <= start["temporaries"], (start, row)
        assert row["begun"] == start["begun"], (start, row)


def check_shards(bench: Bench, count: int) -> None:
    workspace, where = bench.fresh("long"), bench.fresh("measured")
    temporaries = bench.fresh("tmp")
    temporaries.mkdir()
    data = world.write_data(bench.fresh("long-data"), train=count)
    changes = {
        "embed": {"shard_rows": 1},
        "mine": {"depth": 8, "shard_queries": 1},
    }
    ended = bench.server.run(data, workspace, measure=str(where), tmp=str(temporaries), changes=changes)
    assert ended.code == 0, ended.said
    for stage in ("round-00/mine", "round-00/embed"):
        rows = measure.held(where, stage)
        assert len(rows) >= count
        flat(rows, len(rows) // 5)
    assert list(temporaries.iterdir()) == []


def check_rounds(bench: Bench, rounds: int) -> None:
    workspace, where = bench.fresh("long"), bench.fresh("measured")
    temporaries = bench.fresh("tmp")
    temporaries.mkdir()
    changes = {"rounds": rounds}
    ended = bench.server.run(bench.data, workspace, measure=str(where), tmp=str(temporaries), changes=changes)
    assert ended.code == 0, ended.said
    for stage in ("/index", "/mine", "/train"):
        ends = list({row["stage"]: row for row in measure.held(where, stage)}.values())  # the last shard of each round
        assert len(ends) >= rounds
        flat(ends, 1)
    assert list(temporaries.iterdir()) == []
    assert list((workspace / ".building").iterdir()) == []


def test_nothing_grows_over_twenty_shards(bench):
    check_shards(bench, 20)


def test_nothing_grows_over_three_rounds(bench):
    check_rounds(bench, 3)


@pytest.mark.faults
def test_nothing_grows_over_a_hundred_shards(bench):
    check_shards(bench, 100)
    print("\n100 shards of mining and more of embedding: memory, open files and temporaries are flat")


@pytest.mark.faults
def test_nothing_grows_over_five_rounds(bench):
    check_rounds(bench, 5)
    print("\n5 rounds: memory, open files and temporaries are flat")


SHARDS = {1: (14, 5), 2: (7, 3), 4: (4, 2)}
"""Shards: rows of a shard of vectors, and queries of a shard of mining; 4 and 3 are what 14 documents and 5 queries make."""


SHARDED = {
    "mine": "candidates",
    "teach": "teacher_scores",
    "judge": "judged",
    "deepen": "deepened",
    "sample": "triplets",
}
"""The stages that work a shard of queries at a time, and a table of each."""


def tables(workspace: Path) -> dict[str, list[dict[str, object]]]:
    """Every table of every result, its parts together."""
    found: dict[str, list[dict[str, object]]] = {}
    for name in world.NAMES:
        for path in sorted((workspace / name).glob("*.parquet")):
            found.setdefault(f"{name}/{path.stem.rpartition('-')[0]}", []).extend(pq.read_table(path).to_pylist())
    return found


def test_threads_and_shards_change_nothing(bench):
    """The same bytes with any number of threads; the same rows and the same exports with any number of shards."""
    found = {}
    for threads in (1, 2):
        folder = bench.fresh(f"threads-{threads}")
        folder.mkdir()
        server = Server(folder, threads)
        for shards, (rows, queries) in SHARDS.items():
            workspace = folder / f"ws-{shards}"
            changes = {"embed": {"shard_rows": rows}, "mine": {"depth": 8, "shard_queries": queries}}
            ended = server.run(bench.data, workspace, changes=changes)
            assert ended.code == 0, ended.said
            for stage, table in SHARDED.items():
                assert len(list((workspace / f"round-00/{stage}").glob(f"{table}-*"))) == -(-5 // queries), stage
            for round_ in ("round-00", "round-01"):
                assert len(list((workspace / round_ / "embed").glob("corpus_vectors-*"))) == -(-14 // rows)
                assert len(list((workspace / round_ / "embed").glob("query_vectors-*"))) == -(-9 // rows)
            found[threads, shards] = workspace
        server.close()
    expected = tables(found[1, 1])
    for (threads, shards), workspace in found.items():
        assert world.content(workspace) == world.content(found[1, shards]), (threads, shards)
        assert tables(workspace) == expected, (threads, shards)
        for folder in ("round-00/export/exports", "round-00/train/checkpoint", "round-00/index/corpus.faiss"):
            assert inside(workspace / folder) == inside(found[1, 1] / folder), (threads, shards, folder)


def inside(place: Path) -> dict[str, bytes]:
    files = [p for p in place.rglob("*") if p.is_file()] if place.is_dir() else [place]
    return {os.path.relpath(p, place): p.read_bytes() for p in files}
