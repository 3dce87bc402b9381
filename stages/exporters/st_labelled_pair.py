"""sentence-transformers, one document a row: `anchor`, `positive`, and `label` 1 or 0, or `score`.

The second column is named `positive` and holds negatives also: the trainer goes by position. With labels for
ContrastiveLoss, OnlineContrastiveLoss and a cross-encoder's BinaryCrossEntropyLoss; with `scores` for CoSENTLoss,
AnglELoss and CosineSimilarityLoss. `label` and `score` are names that the trainer takes as a label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from stages.exporters._common import Row, Summary, Texts, export, id_fields, write_with_ids
from stages.exporters._rows import examples, loaded
from stages.registry import Member
from stages.spec import Source

CHECKED = {"sentence-transformers": "6.2.0", "datasets": "5.2.0"}
LOADER = "datasets"
IDS = id_fields("query_id", "positive_id", "negative_id", "query_row", "positive_row", "negative_row", "rank")


class StLabelledPair(Member):
    """Rows of (anchor, document, label): for each query its positives, then its negatives, each document once."""

    scores: bool = Field(
        False, description="a column `score` instead of `label`; rows with a score missing are left out"
    )
    prompts: bool = Field(False, description="put a query's own prompt in front of the anchor")
    rows_per_file: int = Field(500_000, ge=1, description="rows in one Parquet file; more rows make more files")

    @property
    def data(self) -> pa.Schema:
        """The columns that the trainer reads, in order."""
        label = ("score", pa.float32()) if self.scores else ("label", pa.int64())
        return pa.schema([("anchor", pa.string()), ("positive", pa.string()), label])

    def write(self, triplets: Source, texts: Texts, folder: Path) -> Summary:
        """Writes the target into the new `folder`. Raises InputError for a text that no trainer takes, YieldError for no rows."""

        def write(left_out: Counter[str]) -> tuple[int, tuple[str, ...]]:
            return write_with_ids(folder, self.data, IDS, self.rows_per_file, self._batches(triplets, texts, left_out))

        return export(self, CHECKED, folder, triplets, write)

    def _batches(self, triplets: Source, texts: Texts, left_out: Counter[str]) -> Iterator[tuple[pa.Table, pa.Table]]:
        for batch in examples(triplets, texts, left_out):
            rows: list[dict[str, Any]] = []
            ids: list[dict[str, Any]] = []
            for example in batch:
                anchor = (example.prompt if self.prompts else "") + example.query
                for label, kind, documents in ((1, "positive", example.positives), (0, "negative", example.negatives)):
                    for document in documents:
                        if self.scores and document.score is None:
                            left_out["rows_with_a_score_missing"] += 1
                            continue
                        rows.append(
                            {"anchor": anchor, "positive": document.text, "label": label, "score": document.score}
                        )
                        names = {f"{kind}_id": document.id, f"{kind}_row": document.row, "rank": document.rank}
                        ids.append({"query_id": example.id, "query_row": example.row, **names})
            yield pa.Table.from_pylist(rows, schema=self.data), pa.Table.from_pylist(ids, schema=IDS)

    @property
    def prompts_in_text(self) -> bool:
        """Whether a query's own prompt is in front of its text."""
        return self.prompts

    def load(self, folder: Path) -> Iterator[Row]:
        """Every row as the data set of the trainer holds it; with scores nothing says which document is a positive."""
        for row in loaded("parquet", *sorted((folder / "data").glob("*.parquet"))):
            documents = (row["positive"],)
            yield Row(row["anchor"], (), documents) if row.get("label") == 0 else Row(row["anchor"], documents)

    def wanted(self, texts: Texts, folder: Path) -> Iterator[Row]:
        """The rows that `ids.parquet` calls for."""
        for row in loaded("parquet", folder / "ids.parquet"):
            anchor = texts.anchors(np.array([row["query_row"]]), self.prompts)[0].as_py()
            negative = row["positive_row"] is None
            rows = np.array([row["negative_row" if negative else "positive_row"]])
            documents = tuple(texts.documents(rows).to_pylist())
            yield Row(anchor, (), documents) if negative and not self.scores else Row(anchor, documents)
