"""Looking at one query costs what one query costs: no stage is loaded, and of a large table its own row groups are read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.catalog import Entry, build, connect
from pipeline.looking.one import show
from tests.e2e.conftest import ROOT
from tests.export_world import corpus, queries
from tests.pipeline.test_catalog import stored
from tests.support import table

QUERIES, CANDIDATES = 40, 50
GROUP = 10 * CANDIDATES
"""Rows of a row group: ten queries."""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Queries with candidates in several row groups; of all groups but the first one the bytes are no Parquet any more."""
    rows = [
        {
            "query_row": q, "doc_row": rank, "rank": rank, "score": 1 / rank, "retriever": "dense", "positive_row": 0,
            "positive_score": 0.8, "verdict": "kept", "evidence": {"rule": "relative_margin", "value": 0.5, "limit": 0.7},
        }
        for q in range(QUERIES) for rank in range(1, CANDIDATES + 1)
    ]  # fmt: skip
    held = [{"query_row": q, "positive_row": 0, "score": 0.8, "rank": None} for q in range(QUERIES)]
    entries = stored(
        tmp_path,
        {
            ("corpus", None): corpus([f"document {i}" for i in range(CANDIDATES + 1)]),
            ("queries", None): queries([f"query {i}" for i in range(QUERIES)]),
            ("positives", 0): table("positives", held),
        },
    )
    judged = tmp_path / "judged.parquet"
    pq.write_table(pa.table(table("judged", rows)), judged, row_group_size=GROUP)
    metadata = pq.read_metadata(judged)
    assert metadata.num_row_groups == 4
    first = [metadata.row_group(1).column(i) for i in range(metadata.num_columns)]
    start = min(c.dictionary_page_offset or c.data_page_offset for c in first)
    last = [metadata.row_group(3).column(i) for i in range(metadata.num_columns)]
    end = max((c.dictionary_page_offset or c.data_page_offset) + c.total_compressed_size for c in last)
    content = bytearray(judged.read_bytes())
    content[start:end] = b"\xff" * (end - start)
    judged.write_bytes(content)
    build(tmp_path / "catalog.duckdb", [*entries, Entry("judged", 0, (judged,))])
    return tmp_path


def test_only_the_row_groups_of_the_query_are_read(workspace: Path) -> None:
    with connect(workspace / "catalog.duckdb", workspace) as connection:
        found = show(connection, "q3", 0, 1000)
        assert [(c["rank"], c["doc_id"]) for c in found["candidates"]] == [
            (r, f"d{r}") for r in range(1, CANDIDATES + 1)
        ]
        with pytest.raises(duckdb.Error):
            show(connection, "q39", 0, 1000)  # its row group is damaged: so damage is seen where it is read


HEAVY = (
    "pydantic",
    "torch",
    "faiss",
    "transformers",
    "sentence_transformers",
    "stages.mine",
    "pipeline.runner",
    "jinja2",
)


@pytest.mark.parametrize("command", [["show", "nothing"], ["suspects"], ["sql", "SELECT 1"], ["rounds"], ["audit"]])
def test_what_only_looks_loads_no_stage(tmp_path: Path, command: list[str]) -> None:
    """On an empty workspace, where each command ends with the error that there is nothing yet."""
    code = (
        "import sys; from pipeline.cli import cli\n"
        "try: cli(sys.argv[1:], standalone_mode=False)\n"
        f"except BaseException as error: print(type(error).__name__, [m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command, "--workspace", str(tmp_path)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.strip() == "ArtefactError []"
