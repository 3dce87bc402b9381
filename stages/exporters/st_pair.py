"""sentence-transformers, no negatives: columns `anchor` and `positive`, each pair of the triplets once.

For MultipleNegativesRankingLoss and its cached and GIST forms, which take negatives from the batch, and MegaBatchMarginLoss.
"""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from stages.exporters._common import Texts, id_fields, whole_groups
from stages.exporters._st_columns import CHECKED, LOADER, Batches, Columns
from stages.spec import Source

__all__ = ["CHECKED", "LOADER", "StPair"]

IDS = id_fields("query_id", "positive_id", "query_row", "positive_row", "positive_score")


class StPair(Columns):
    """Rows of (anchor, positive), one for each query and positive."""

    @property
    def data(self) -> pa.Schema:
        """The columns that the trainer reads, in order."""
        return pa.schema([(name, pa.string()) for name in ("anchor", "positive")])

    @property
    def sidecar(self) -> pa.Schema:
        """The columns of `ids.parquet`."""
        return IDS

    def _batches(self, triplets: Source, texts: Texts, left_out: Counter[str]) -> Batches:
        for table, bounds in whole_groups(triplets, ("query_row", "positive_row")):
            pairs = table.take(bounds[:-1])
            query, positive = (pairs.column(name).to_numpy() for name in ("query_row", "positive_row"))
            ids = {
                "query_id": texts.query_ids.take(pa.array(query)),
                "positive_id": texts.doc_ids.take(pa.array(positive)),
            }
            columns = [ids[name] if name in ids else pairs.column(name) for name in IDS.names]
            data = [texts.anchors(query, self.prompts), texts.documents(positive)]
            left_out["negatives_not_in_this_format"] += table.num_rows
            yield pa.table(data, schema=self.data), pa.table(columns, names=IDS.names).cast(IDS)
