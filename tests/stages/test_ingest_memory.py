"""What ingest holds grows by some bytes a document, not by its text."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MEASURE = """
import sys, resource
from contextlib import contextmanager
from stages import ingest
from stages.settings import parse
from stages.spec import WHOLE
class Context:
    shards = (WHOLE,)
    @contextmanager
    def progress(self, *given):
        class Bar:
            def advance(self, n=1): ...
        yield Bar()
    def log(self, message): ...
config = parse(ingest.IngestConfig, {"dataset": {"name": "beir", "path": sys.argv[1]}, "part_rows": 2000}, "ingest")
seen = {}
for part in ingest.run(config, {}, Context()):
    for name, table in part.tables.items():
        seen[name] = seen.get(name, 0) + table.num_rows
    if seen.get("corpus") in (20_000, 120_000):
        print(int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize())
"""


def test_memory_grows_by_ids_alone(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    with gzip.open(tmp_path / "corpus.jsonl.gz", "wt", compresslevel=1) as file:
        file.writelines(f'{{"_id": "doc{i:08d}", "text": "{"text " * 100} {i}"}}\n' for i in range(120_000))
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "query"}\n')
    (tmp_path / "qrels/train.tsv").write_text("query-id\tcorpus-id\tscore\nq\tdoc00000001\t1\n")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    first, last = map(int, done.stdout.split()[:2])
    assert last - first < 100_000 * 100  # a document's text alone is 500 bytes, and 42 bytes were measured
