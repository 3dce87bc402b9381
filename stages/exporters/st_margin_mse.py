"""sentence-transformers, the margin of one negative: `query`, `positive`, `negative`, `label`.

`label` is the score of the positive minus that of the negative, float32. For MarginMSELoss, also of sparse and
multi-vector encoders (Hofstätter et al. 2020, arXiv:2010.02666).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from stages.exporters._common import Texts, rebatched
from stages.exporters._rows import single
from stages.exporters._st_columns import CHECKED, LOADER, Batches
from stages.exporters.st_triplet import StTriplet, id_columns
from stages.spec import Source

__all__ = ["CHECKED", "LOADER", "StMarginMse"]


class StMarginMse(StTriplet):
    """Rows of (query, positive, negative, margin), one for each triplet with both scores."""

    @property
    def data(self) -> pa.Schema:
        """The columns that the trainer reads, in order."""
        texts = [(name, pa.string()) for name in ("query", "positive", "negative")]
        return pa.schema([*texts, ("label", pa.float32())])

    def _batches(self, triplets: Source, texts: Texts, left_out: Counter[str]) -> Batches:
        for table in rebatched(triplets):
            positive, negative = (
                table.column(f"{kind}_score").to_numpy().astype(np.float64) for kind in ("positive", "negative")
            )
            known = np.isfinite(positive - negative)
            left_out["negatives_with_a_score_missing"] += int((~known).sum())
            kept = table.filter(pa.array(known))
            label = pa.array((positive - negative)[known]).cast(pa.float32())
            yield pa.table([*self._texts(kept, texts), label], schema=self.data), id_columns(kept, texts)

    def labels(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        """The margin that a row of `ids.parquet` calls for."""
        return single([row["positive_score"] - row["negative_score"]])
