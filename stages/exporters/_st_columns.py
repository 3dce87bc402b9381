"""What the formats of sentence-transformers share: Parquet files of texts in columns, and at most one label after them.

A format says which columns there are, `data`, which ids are beside them, `sidecar`, and what rows the triplets make.
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pydantic import Field

from stages.exporters._common import Row, Summary, Texts, export, write_with_ids
from stages.exporters._rows import load_columns
from stages.registry import Member
from stages.spec import Source

CHECKED = {"sentence-transformers": "6.2.0", "datasets": "5.2.0"}
LOADER = "datasets"
Batches = Iterator[tuple[pa.Table, pa.Table]]


class Columns(Member):
    """Base of the formats of columns."""

    prompts: bool = Field(
        False, description="put a query's own prompt in front of the anchor; off, the trainer's `prompts` can add one"
    )
    rows_per_file: int = Field(500_000, ge=1, description="rows in one Parquet file; more rows make more files")

    @property
    @abstractmethod
    def data(self) -> pa.Schema:
        """The columns that the trainer reads, in order."""

    @property
    @abstractmethod
    def sidecar(self) -> pa.Schema:
        """The columns of `ids.parquet`."""

    @abstractmethod
    def _batches(self, triplets: Source, texts: Texts, left_out: Counter[str]) -> Batches:
        """The rows of both, and in `left_out` what makes none."""

    def write(self, triplets: Source, texts: Texts, folder: Path) -> Summary:
        """Writes the target into the new `folder`. Raises InputError for a text that no trainer takes, YieldError for no rows."""

        def write(left_out: Counter[str]) -> tuple[int, tuple[str, ...]]:
            batches = self._batches(triplets, texts, left_out)
            return write_with_ids(folder, self.data, self.sidecar, self.rows_per_file, batches)

        return export(self, sys.modules[type(self).__module__].CHECKED, folder, triplets, write)

    @property
    def prompts_in_text(self) -> bool:
        """Whether a query's own prompt is in front of its text."""
        return self.prompts

    def load(self, folder: Path) -> Iterator[Row]:
        """Every row as the data set of the trainer holds it."""
        yield from load_columns(folder)
