"""Golden hashes of a small fixture: the contents that hang on no machine's floating point, as they are on every machine.

Of every table of every stage the columns without fractions (ids, rows, ranks, verdicts, reasons, counts), of runs the order, of
exports whole files. Where the pinned version of pyarrow is installed, the bytes of what ingest writes as well. `python -m
tests.faults.test_golden` writes the hashes anew: do so only for a change of results that the changelog tells.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.faults import world
from tests.faults.conftest import Bench, made
from tests.faults.server import ROOT

GOLDEN = Path(__file__).with_name("golden.json")
CHANGES = {
    "export": {"targets": {"st_triplet": {}, "flagembedding": {}, "msmarco_hard_negatives": {}, "splade_tsv": {}}}
}


def _whole(kind: pa.DataType) -> bool:
    """Whether no fraction is in values of this type."""
    if pa.types.is_struct(kind):
        return all(_whole(field.type) for field in kind)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _whole(kind.value_type)
    return not pa.types.is_floating(kind)


def _rows(path: Path) -> bytes:
    table = pq.read_table(path)
    table = table.select([field.name for field in table.schema if _whole(field.type)])
    return json.dumps([table.column_names, table.to_pylist()], default=str).encode()


def _order(path: Path) -> bytes:
    """The lines of a run without their scores."""
    return "\n".join(" ".join(line.split(" ")[:4]) for line in path.read_text().split("\n")).encode()


READ: dict[str, Callable[[Path], bytes]] = {
    ".parquet": _rows, ".trec": _order, ".jsonl": Path.read_bytes, ".tsv": Path.read_bytes, ".gz": lambda path: gzip.decompress(path.read_bytes()),
}  # fmt: skip


def contents(workspace: Path) -> dict[str, str]:
    """A sha256 of what each file says, as far as it hangs on no floating point."""
    found = {}
    for name in world.NAMES:
        for path in sorted((workspace / name).rglob("*")):
            if path.is_file() and path.suffix in READ:
                found[str(path.relative_to(workspace))] = hashlib.sha256(READ[path.suffix](path)).hexdigest()
    return found


def written(workspace: Path) -> dict[str, str]:
    """A sha256 of the bytes of each table of ingest."""
    return {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((workspace / "ingest").glob("*.parquet"))
    }


pytestmark = pytest.mark.skipif(
    bool(os.environ.get("FAULTS_CONFIGURATION")), reason="the hashes are those of the configuration in world.py"
)


def run(bench: Bench, data: Path | None = None) -> Path:
    workspace = bench.fresh("golden")
    ended = bench.server.run(data or bench.data, workspace, changes=CHANGES)
    assert ended.code == 0, ended.said
    return workspace


def pinned(package: str) -> str:
    found = re.search(rf"^{package}==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert found
    return found[1]


def test_the_fixture_gives_what_it_always_gave(bench):
    workspace, known = run(bench), json.loads(GOLDEN.read_text())
    assert len(known["contents"]) == 60
    assert contents(workspace) == known["contents"]
    if pa.__version__ != pinned("pyarrow"):
        pytest.skip("another pyarrow writes other bytes")
    assert written(workspace) == known["bytes"]


def test_another_text_is_another_hash(bench):
    data = world.write_data(bench.fresh("golden-data"))
    corpus = data / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace("femur 0", "femur 1"))
    workspace, known = run(bench, data), json.loads(GOLDEN.read_text())
    changed = {name for name, sha in contents(workspace).items() if known["contents"].get(name) != sha}
    assert "ingest/corpus-00000.parquet" in changed
    assert any("export" in name for name in changed)
    assert written(workspace)["corpus-00000.parquet"] != known["bytes"]["corpus-00000.parquet"]


if __name__ == "__main__":
    with made(real=False) as fresh:
        place = run(fresh)
        known = {"contents": contents(place), "bytes": written(place)}
        GOLDEN.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
