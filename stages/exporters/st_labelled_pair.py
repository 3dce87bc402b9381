"""sentence-transformers, one document a row: `anchor`, `positive`, and `label` 1 or 0, or `score`.

The second column is named `positive` and holds negatives also: the trainer goes by position. With labels for
ContrastiveLoss, OnlineContrastiveLoss and a cross-encoder's BinaryCrossEntropyLoss; with `scores` for CoSENTLoss,
AnglELoss and CosineSimilarityLoss. `label` and `score` are names that the trainer takes as a label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from pydantic import Field

from stages.exporters._common import Row, Texts, id_fields
from stages.exporters._rows import Document, Example, examples, single
from stages.exporters._st_columns import CHECKED, LOADER, Batches, Columns
from stages.spec import Source

__all__ = ["CHECKED", "LOADER", "StLabelledPair"]

IDS = id_fields(
    "query_id", "positive_id", "negative_id", "query_row", "positive_row", "negative_row",
    "positive_score", "negative_score", "rank",
)  # fmt: skip


class StLabelledPair(Columns):
    """Rows of (anchor, document, label): for each query its positives, then its negatives, each document once."""

    scores: bool = Field(
        False, description="a column `score` instead of `label`; rows with a score missing are left out"
    )

    @property
    def data(self) -> pa.Schema:
        """The columns that the trainer reads, in order."""
        label = ("score", pa.float32()) if self.scores else ("label", pa.int64())
        return pa.schema([("anchor", pa.string()), ("positive", pa.string()), label])

    @property
    def sidecar(self) -> pa.Schema:
        """The columns of `ids.parquet`."""
        return IDS

    def _batches(self, triplets: Source, texts: Texts, left_out: Counter[str]) -> Batches:
        for batch in examples(triplets, texts, left_out):
            rows: list[dict[str, Any]] = []
            ids: list[dict[str, Any]] = []
            for example in batch:
                anchor = (example.prompt if self.prompts else "") + example.query
                kept = [one for one in _labelled(example) if not self.scores or one[2].finite]
                documents = [document for _, _, document in kept]
                left_out["rows_with_a_score_missing"] += len(_labelled(example)) - len(kept)
                left_out["negatives_without_a_score_of_both"] += example.missing(*documents)
                for label, kind, document in kept:
                    row = {"anchor": anchor, "positive": document.text, "label": label, "score": document.score}
                    rows.append(row)
                    names = {f"{kind}_{one}": getattr(document, one) for one in ("id", "row", "score")}
                    ids.append({"query_id": example.id, "query_row": example.row, "rank": document.rank, **names})
            yield pa.Table.from_pylist(rows, schema=self.data), pa.Table.from_pylist(ids, schema=IDS)

    def placed(self, row: Row) -> Row:
        """A row as the format holds it: the second column holds positives and negatives alike."""
        return row._replace(positives=(*row.positives, *row.negatives), negatives=())

    def labels(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        """The label, or the score, that a row of `ids.parquet` calls for."""
        positive = row["positive_row"] is not None
        return single([row["positive_score" if positive else "negative_score"]]) if self.scores else (int(positive),)


def _labelled(example: Example) -> list[tuple[int, str, Document]]:
    positives = [(1, "positive", document) for document in example.positives]
    return [*positives, *((0, "negative", document) for document in example.negatives)]
