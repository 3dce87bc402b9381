"""sentence-transformers, one negative a row: columns `anchor`, `positive`, `negative`.

The trainer takes every column as a text, by its position and not by its name: so the order is fixed, there is no other
column, and ids, ranks and scores are in `ids.parquet`. For MultipleNegativesRankingLoss, its cached and GIST forms, and
TripletLoss. Load it with `load_dataset("parquet", data_files="…/data/*.parquet")`, or give `load_dataset` the folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pydantic import Field

from stages.exporters._common import Row, Summary, Texts, export, id_fields, rebatched, write_with_ids
from stages.exporters._rows import load_columns
from stages.registry import Member
from stages.spec import Source

CHECKED = {"sentence-transformers": "6.2.0", "datasets": "5.2.0"}
LOADER = "datasets"

DATA = pa.schema([(name, pa.string()) for name in ("anchor", "positive", "negative")])
IDS = id_fields(
    "query_id", "positive_id", "negative_id", "query_row", "positive_row", "negative_row",
    "positive_score", "negative_score", "rank", "sampler", "seed", "round",
)  # fmt: skip


class StTriplet(Member):
    """Rows of (anchor, positive, negative), one for each triplet."""

    prompts: bool = Field(
        False, description="put a query's own prompt in front of the anchor; off, the trainer's `prompts` can add one"
    )
    rows_per_file: int = Field(500_000, ge=1, description="rows in one Parquet file; more rows make more files")

    def write(self, triplets: Source, texts: Texts, folder: Path) -> Summary:
        """Writes the target into the new `folder`. Raises InputError for a text that no trainer takes, YieldError for no rows."""

        def write(left_out: Counter[str]) -> tuple[int, tuple[str, ...]]:
            return write_with_ids(folder, DATA, IDS, self.rows_per_file, self._batches(triplets, texts))

        return export(self, CHECKED, folder, triplets, write)

    def _batches(self, triplets: Source, texts: Texts) -> Iterator[tuple[pa.Table, pa.Table]]:
        for table in rebatched(triplets):
            query, positive, negative = (
                table.column(c).to_numpy() for c in ("query_row", "positive_row", "negative_row")
            )
            data = [texts.anchors(query, self.prompts), texts.documents(positive), texts.documents(negative)]
            yield pa.table(data, schema=DATA), id_columns(table, texts)

    @property
    def prompts_in_text(self) -> bool:
        """Whether a query's own prompt is in front of its text."""
        return self.prompts

    def load(self, folder: Path) -> Iterator[Row]:
        """Every row as the data set of the trainer holds it."""
        yield from load_columns(folder)


def id_columns(table: pa.Table, texts: Texts) -> pa.Table:
    """The rows of `ids.parquet` of triplets."""
    ids = {
        "query_id": texts.query_ids.take(table.column("query_row")),
        "positive_id": texts.doc_ids.take(table.column("positive_row")),
        "negative_id": texts.doc_ids.take(table.column("negative_row")),
    }
    columns = [ids[name] if name in ids else table.column(name) for name in IDS.names]
    return pa.table(columns, names=IDS.names).cast(IDS)
