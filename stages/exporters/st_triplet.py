"""sentence-transformers, one negative a row: columns `anchor`, `positive`, `negative`.

The trainer takes every column as a text, by its position and not by its name: so the order is fixed, there is no other
column, and ids, ranks and scores are in `ids.parquet`. For MultipleNegativesRankingLoss, its cached and GIST forms, and
TripletLoss. Load it with `load_dataset("parquet", data_files="…/data/*.parquet")`, or give `load_dataset` the folder.
"""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from stages.exporters._common import Texts, id_fields, rebatched
from stages.exporters._st_columns import CHECKED, LOADER, Batches, Columns
from stages.spec import Source

__all__ = ["CHECKED", "IDS", "LOADER", "StTriplet", "id_columns"]

IDS = id_fields(
    "query_id", "positive_id", "negative_id", "query_row", "positive_row", "negative_row",
    "positive_score", "negative_score", "rank", "sampler", "seed", "round",
)  # fmt: skip


class StTriplet(Columns):
    """Rows of (anchor, positive, negative), one for each triplet."""

    @property
    def data(self) -> pa.Schema:
        """The columns that the trainer reads, in order."""
        return pa.schema([(name, pa.string()) for name in ("anchor", "positive", "negative")])

    @property
    def sidecar(self) -> pa.Schema:
        """The columns of `ids.parquet`."""
        return IDS

    def _batches(self, triplets: Source, texts: Texts, left_out: Counter[str]) -> Batches:
        for table in rebatched(triplets):
            yield pa.table(self._texts(table, texts), schema=self.data), id_columns(table, texts)

    def _texts(self, table: pa.Table, texts: Texts) -> list[pa.Array]:
        query, *documents = (table.column(f"{kind}_row").to_numpy() for kind in ("query", "positive", "negative"))
        return [texts.anchors(query, self.prompts), *map(texts.documents, documents)]


def id_columns(table: pa.Table, texts: Texts) -> pa.Table:
    """The rows of `ids.parquet` of triplets."""
    ids = {
        "query_id": texts.query_ids.take(table.column("query_row")),
        "positive_id": texts.doc_ids.take(table.column("positive_row")),
        "negative_id": texts.doc_ids.take(table.column("negative_row")),
    }
    columns = [ids[name] if name in ids else table.column(name) for name in IDS.names]
    return pa.table(columns, names=IDS.names).cast(IDS)
