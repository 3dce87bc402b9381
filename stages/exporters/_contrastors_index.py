"""The index of contrastors' shards: `counts.json`, and `offsets.json.gz` with where each row is in the unpacked bytes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.exporters._common import dumps
from stages.exporters._gzip import zipped


def write_index(folder: Path, location: str, shards: list[list[tuple[int, int]]]) -> None:
    """Writes both files, under the keys that follow from where the shards will be: of three and of four parts."""
    counts, offsets = {}, {}
    for i, ends in enumerate(shards):
        parts = [*location.removeprefix("s3://").split("/"), f"shard-{i:05d}.jsonl.gz"]
        for key in ("/".join(parts[-3:]), "/".join(parts[-4:])):
            counts[key] = len(ends)
            offsets[key] = {str(row): end for row, end in enumerate(ends)}
    (folder / "counts.json").write_text(dumps(counts) + "\n", "utf-8")
    with zipped(folder / "offsets.json.gz") as file:
        file.write(dumps(offsets).encode())


def indexed(folder: Path) -> Iterator[dict[str, Any]]:
    """Every row, found by its offsets."""
    with gzip.open(folder / "offsets.json.gz", "rb") as file:
        offsets = json.load(file)
    for path in sorted(folder.glob("shard-*.jsonl.gz")):
        ends = next(ends for key, ends in offsets.items() if key.endswith(path.name))
        with gzip.open(path, "rb") as file:
            for i in range(len(ends)):
                start, stop = ends[str(i)]
                file.seek(start)
                yield json.loads(file.read(stop - start))
