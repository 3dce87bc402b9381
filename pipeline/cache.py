"""What stages keep from one configuration to the next: Parquet files, each named after the sha256 of its bytes.

A file whose bytes do not give its name is as if it were not there. Removing the whole folder loses time and nothing else.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.store import commit


@dataclass(frozen=True)
class DiskCache:
    """A folder of tables by name; see `stages.spec.Cache`."""

    root: Path

    def read(self, name: str) -> pa.Table | None:
        found = []
        for path in sorted((self.root / name).glob("*.parquet")):
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() == path.stem:
                found.append(pq.read_table(io.BytesIO(data)))
        return pa.concat_tables(found) if found else None

    def add(self, name: str, table: pa.Table) -> None:
        """Raises StorageError when the disk refuses."""
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd", use_dictionary=False)
        data = sink.getvalue()
        path = self.root / name / f"{hashlib.sha256(data).hexdigest()}.parquet"
        commit(path, lambda temporary: _write(temporary, data))


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
