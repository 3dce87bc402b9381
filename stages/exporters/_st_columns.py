"""What the formats of sentence-transformers share: Parquet files of texts in columns, and at most one label after them.

A format says which columns there are, `data`, which ids are beside them, `sidecar`, and what rows the triplets make.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from stages.exporters._common import Row
from stages.exporters._pieces import Batches, Files
from stages.exporters._rows import load_columns

__all__ = ["CHECKED", "LOADER", "Batches", "Columns"]

CHECKED = {"sentence-transformers": "6.2.0", "datasets": "5.2.0"}
LOADER = "datasets"


class Columns(Files):
    """Base of the formats of columns."""

    prompts: bool = Field(
        False, description="put a query's own prompt in front of the anchor; off, the trainer's `prompts` can add one"
    )

    @property
    def prompts_in_text(self) -> bool:
        """Whether a query's own prompt is in front of its text."""
        return self.prompts

    def load(self, folder: Path) -> Iterator[Row]:
        """Every row as the data set of the trainer holds it."""
        yield from load_columns(folder)
