"""sentence-transformers cross-encoders, all documents of a query in a row: `query`, `docs`, and `labels` or `scores`.

`docs` lists the positives, then the negatives; rows may have different lengths. For LambdaLoss, ListNetLoss, ListMLELoss,
PListMLELoss and RankNetLoss. An embedding model would take a list as one odd text, without a word: this is not for those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from stages.exporters._common import Row, Summary, Texts, export, write_with_ids
from stages.exporters._rows import IDS, Example, examples, loaded
from stages.registry import Member
from stages.spec import Source

CHECKED = {"sentence-transformers": "6.2.0", "datasets": "5.2.0"}
LOADER = "datasets"


class StLabelledList(Member):
    """Rows of (query, docs, labels), one for each query, each document once."""

    scores: bool = Field(
        False, description="`scores` instead of `labels` of 1 and 0; queries with one missing are left out"
    )
    prompts: bool = Field(False, description="put a query's own prompt in front of the query")
    rows_per_file: int = Field(500_000, ge=1, description="rows in one Parquet file; more rows make more files")

    @property
    def data(self) -> pa.Schema:
        """The columns that the trainer reads, in order."""
        label = ("scores", pa.list_(pa.float32())) if self.scores else ("labels", pa.list_(pa.int64()))
        return pa.schema([("query", pa.string()), ("docs", pa.list_(pa.string())), label])

    def write(self, triplets: Source, texts: Texts, folder: Path) -> Summary:
        """Writes the target into the new `folder`. Raises InputError for a text that no trainer takes, YieldError for no rows."""

        def write(left_out: Counter[str]) -> tuple[int, tuple[str, ...]]:
            return write_with_ids(folder, self.data, IDS, self.rows_per_file, self._batches(triplets, texts, left_out))

        return export(self, CHECKED, folder, triplets, write)

    def _batches(self, triplets: Source, texts: Texts, left_out: Counter[str]) -> Iterator[tuple[pa.Table, pa.Table]]:
        for batch in examples(triplets, texts, left_out):
            kept = [example for example in batch if example.scored or not self.scores]
            left_out["queries_with_a_score_missing"] += len(batch) - len(kept)
            rows = [self._row(example) for example in kept]
            ids = [example.ids() for example in kept]
            yield pa.Table.from_pylist(rows, schema=self.data), pa.Table.from_pylist(ids, schema=IDS)

    def _row(self, example: Example) -> dict[str, Any]:
        documents = (*example.positives, *example.negatives)
        return {
            "query": (example.prompt if self.prompts else "") + example.query,
            "docs": [d.text for d in documents],
            "labels": [1] * len(example.positives) + [0] * len(example.negatives),
            "scores": [d.score for d in documents],
        }

    @property
    def prompts_in_text(self) -> bool:
        """Whether a query's own prompt is in front of its text."""
        return self.prompts

    def load(self, folder: Path) -> Iterator[Row]:
        """Every row as the data set of the trainer holds it; with scores the positives are counted from `ids.parquet`."""
        found = loaded("parquet", *sorted((folder / "data").glob("*.parquet")))
        ids = loaded("parquet", folder / "ids.parquet")
        for row, names in zip(found, ids, strict=True):
            positives = sum(row["labels"]) if not self.scores else len(names["positive_rows"])
            yield Row(row["query"], tuple(row["docs"][:positives]), tuple(row["docs"][positives:]))
