"""sentence-transformers, several negatives a row: columns `anchor`, `positive`, `negative_1` … `negative_n`.

The trainer takes every column as a text, by its position, and cannot take a row with fewer: so each (query, positive) gives
its first `negatives` negatives in the order of choice, and one that has fewer is left out and counted, never padded. For
MultipleNegativesRankingLoss and its cached and GIST forms. Load it as `st_triplet`.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
from pydantic import Field

from stages.exporters._common import Texts, id_fields, whole_groups
from stages.exporters._st_columns import CHECKED, LOADER, Batches, Columns
from stages.spec import Source

__all__ = ["CHECKED", "IDS", "LOADER", "StNtuple"]

MANY = {
    "negative_ids": "negative_id",
    "negative_rows": "negative_row",
    "negative_scores": "negative_score",
    "ranks": "rank",
}  # list columns of ids.parquet, in the order of negative_1 … negative_n, and what they list
IDS = id_fields(
    "query_id", "positive_id", "negative_ids", "query_row", "positive_row", "negative_rows",
    "positive_score", "negative_scores", "ranks", "sampler", "seed", "round",
    many=tuple(MANY),
)  # fmt: skip


class StNtuple(Columns):
    """Rows of (anchor, positive, n negatives), one for each query and positive that has n."""

    negatives: int = Field(
        5,
        ge=1,
        le=1000,
        description="negatives in each row, a column each; more leaves out more pairs, and trains slower",
    )

    @property
    def data(self) -> pa.Schema:
        """The columns that the trainer reads, in order."""
        return pa.schema([(name, pa.string()) for name in ("anchor", "positive", *self.negative_names)])

    @property
    def sidecar(self) -> pa.Schema:
        """The columns of `ids.parquet`."""
        return IDS

    @property
    def negative_names(self) -> list[str]:
        """`negative_1` and those after it."""
        return [f"negative_{i}" for i in range(1, self.negatives + 1)]

    def _batches(self, triplets: Source, texts: Texts, left_out: Counter[str]) -> Batches:
        for table, bounds in whole_groups(triplets, ("query_row", "positive_row")):
            starts, counts = bounds[:-1], np.diff(bounds)
            enough = counts >= self.negatives
            left_out["pairs_with_too_few_negatives"] += int((~enough).sum())
            left_out["negatives_of_pairs_with_too_few"] += int(counts[~enough].sum())
            left_out["negatives_beyond_those_asked_for"] += int((counts[enough] - self.negatives).sum())
            chosen = starts[enough, None] + np.arange(self.negatives)  # (m, n) rows of the table
            chosen = self._usable(table, chosen, left_out)
            columns = [*self._texts(table, texts, chosen), *self._labels(table, chosen)]
            yield pa.table(columns, schema=self.data), self._ids(table, texts, chosen)

    def _usable(self, table: pa.Table, chosen: np.ndarray, left_out: Counter[str]) -> np.ndarray:
        """Those rows of `chosen` that the format can hold."""
        return chosen

    def _labels(self, table: pa.Table, chosen: np.ndarray) -> list[pa.Array]:
        """Columns after the texts."""
        return []

    def _texts(self, table: pa.Table, texts: Texts, chosen: np.ndarray) -> list[pa.Array]:
        query, positive, negative = (table.column(c).to_numpy() for c in ("query_row", "positive_row", "negative_row"))
        first = chosen[:, 0]
        columns = [texts.anchors(query[first], self.prompts), texts.documents(positive[first])]
        columns += [texts.documents(negative[chosen[:, i]]) for i in range(self.negatives)]
        return columns

    def _ids(self, table: pa.Table, texts: Texts, chosen: np.ndarray) -> pa.Table:
        singles, all_of = table.take(chosen[:, 0]), table.take(chosen.reshape(-1))
        offsets = pa.array(np.arange(len(chosen) + 1) * self.negatives, pa.int32())
        columns = {
            **{name: singles.column(name) for name in singles.column_names},
            "query_id": texts.query_ids.take(singles.column("query_row")),
            "positive_id": texts.doc_ids.take(singles.column("positive_row")),
        }
        negative_ids = texts.doc_ids.take(all_of.column("negative_row").combine_chunks())
        for many, one in MANY.items():
            values = negative_ids if one == "negative_id" else all_of.column(one).combine_chunks()
            columns[many] = pa.ListArray.from_arrays(offsets, values)
        return pa.table([columns[name] for name in IDS.names], names=IDS.names).cast(IDS)
