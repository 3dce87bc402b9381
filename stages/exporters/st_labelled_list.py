"""sentence-transformers cross-encoders, all documents of a query in a row: `query`, `docs`, and `labels` or `scores`.

`docs` lists the positives, then the negatives; rows may have different lengths. For LambdaLoss, ListNetLoss, ListMLELoss,
PListMLELoss and RankNetLoss. An embedding model would take a list as one odd text, without a word: this is not for those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from stages.exporters._common import Row, Texts
from stages.exporters._rows import IDS, Example, examples, loaded, scores_of, single
from stages.exporters._st_columns import CHECKED, LOADER, Batches, Columns
from stages.spec import Source

__all__ = ["CHECKED", "LOADER", "StLabelledList"]


class StLabelledList(Columns):
    """Rows of (query, docs, labels), one for each query, each document once."""

    scores: bool = Field(
        False, description="`scores` instead of `labels` of 1 and 0; queries with one missing are left out"
    )

    @property
    def data(self) -> pa.Schema:
        """The columns that the trainer reads, in order."""
        label = ("scores", pa.list_(pa.float32())) if self.scores else ("labels", pa.list_(pa.int64()))
        return pa.schema([("query", pa.string()), ("docs", pa.list_(pa.string())), label])

    @property
    def sidecar(self) -> pa.Schema:
        """The columns of `ids.parquet`."""
        return IDS

    def _batches(self, triplets: Source, texts: Texts, left_out: Counter[str]) -> Batches:
        for batch in examples(triplets, texts, left_out):
            kept = [example for example in batch if example.scored or not self.scores]
            left_out["queries_with_a_score_missing"] += len(batch) - len(kept)
            lost = sum(len(example.triplets) for example in batch) - sum(len(example.triplets) for example in kept)
            left_out["negatives_of_queries_with_a_score_missing"] += lost
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

    def load(self, folder: Path) -> Iterator[Row]:
        """Every row as the data set of the trainer holds it; how many are positives is counted from `ids.parquet`."""
        found = loaded("parquet", *sorted((folder / "data").glob("*.parquet")))
        ids = loaded("parquet", folder / "ids.parquet")
        for i, row in enumerate(found):
            documents, positives = tuple(row["docs"]), len(ids[i]["positive_rows"]) if i < len(ids) else 0
            labels = tuple(row["scores" if self.scores else "labels"])
            yield Row(row["query"], documents[:positives], documents[positives:], labels)

    def labels(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        """The labels, or the scores, that a row of `ids.parquet` calls for."""
        ones = (1,) * len(row["positive_rows"]) + (0,) * len(row["negative_rows"])
        return single(scores_of(row)) if self.scores else ones
