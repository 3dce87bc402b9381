"""sentence-transformers, no negatives: columns `anchor` and `positive`, each pair of the triplets once.

For MultipleNegativesRankingLoss and its cached and GIST forms, which take negatives from the batch, and MegaBatchMarginLoss.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pydantic import Field

from stages.exporters._common import Row, Summary, Texts, export, id_fields, whole_groups, write_with_ids
from stages.exporters._rows import load_columns
from stages.registry import Member
from stages.spec import Source

CHECKED = {"sentence-transformers": "6.2.0", "datasets": "5.2.0"}
LOADER = "datasets"

DATA = pa.schema([(name, pa.string()) for name in ("anchor", "positive")])
IDS = id_fields("query_id", "positive_id", "query_row", "positive_row", "positive_score")


class StPair(Member):
    """Rows of (anchor, positive), one for each query and positive."""

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
        for table, bounds in whole_groups(triplets, ("query_row", "positive_row")):
            pairs = table.take(bounds[:-1])
            query, positive = (pairs.column(name).to_numpy() for name in ("query_row", "positive_row"))
            ids = {
                "query_id": texts.query_ids.take(pa.array(query)),
                "positive_id": texts.doc_ids.take(pa.array(positive)),
            }
            columns = [ids[name] if name in ids else pairs.column(name) for name in IDS.names]
            data = [texts.anchors(query, self.prompts), texts.documents(positive)]
            yield pa.table(data, schema=DATA), pa.table(columns, names=IDS.names).cast(IDS)

    @property
    def prompts_in_text(self) -> bool:
        """Whether a query's own prompt is in front of its text."""
        return self.prompts

    def load(self, folder: Path) -> Iterator[Row]:
        """Every row as the data set of the trainer holds it."""
        yield from load_columns(folder)
