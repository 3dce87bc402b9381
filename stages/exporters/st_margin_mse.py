"""sentence-transformers, the margin of one negative: `query`, `positive`, `negative`, `label`.

`label` is the score of the positive minus that of the negative, float32. For MarginMSELoss, also of sparse and
multi-vector encoders (Hofstätter et al. 2020, arXiv:2010.02666).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from stages.exporters._common import Summary, Texts, export, rebatched, write_with_ids
from stages.exporters.st_triplet import IDS, StTriplet, id_columns
from stages.spec import Source

CHECKED = {"sentence-transformers": "6.2.0", "datasets": "5.2.0"}
LOADER = "datasets"
DATA = pa.schema([*((name, pa.string()) for name in ("query", "positive", "negative")), ("label", pa.float32())])


class StMarginMse(StTriplet):
    """Rows of (query, positive, negative, margin), one for each triplet with both scores."""

    def write(self, triplets: Source, texts: Texts, folder: Path) -> Summary:
        """Writes the target into the new `folder`. Raises InputError for a text that no trainer takes, YieldError for no rows."""

        def write(left_out: Counter[str]) -> tuple[int, tuple[str, ...]]:
            return write_with_ids(folder, DATA, IDS, self.rows_per_file, self._margins(triplets, texts, left_out))

        return export(self, CHECKED, folder, triplets, write)

    def _margins(self, triplets: Source, texts: Texts, left_out: Counter[str]) -> Iterator[tuple[pa.Table, pa.Table]]:
        for table in rebatched(triplets):
            positive, negative = (
                table.column(f"{kind}_score").to_numpy().astype(np.float64) for kind in ("positive", "negative")
            )
            known = np.isfinite(positive - negative)
            left_out["triplets_with_a_score_missing"] += int((~known).sum())
            kept = table.filter(pa.array(known))
            query, *documents = (kept.column(f"{kind}_row").to_numpy() for kind in ("query", "positive", "negative"))
            data = [texts.anchors(query, self.prompts), *(texts.documents(rows) for rows in documents)]
            label = pa.array((positive - negative)[known]).cast(pa.float32())
            yield pa.table([*data, label], schema=DATA), id_columns(kept, texts)
