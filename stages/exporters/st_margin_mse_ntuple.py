"""sentence-transformers, margins of several negatives: `query`, `positive`, `negative_1` … `negative_n`, `label`.

`label` lists the score of the positive minus that of each negative, n float32. For MarginMSELoss, also of sparse and
multi-vector encoders (Hofstätter et al. 2020, arXiv:2010.02666).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from stages.exporters._rows import single
from stages.exporters._st_columns import CHECKED, LOADER
from stages.exporters._st_scored import Scored, lists

__all__ = ["CHECKED", "LOADER", "StMarginMseNtuple"]


class StMarginMseNtuple(Scored):
    """Rows of (query, positive, n negatives, margins), one for each query and positive that has n."""

    @property
    def data(self) -> pa.Schema:
        """The columns that the trainer reads, in order."""
        texts = [(name, pa.string()) for name in ("query", "positive", *self.negative_names)]
        return pa.schema([*texts, ("label", pa.list_(pa.float32()))])

    def _labels(self, table: pa.Table, chosen: np.ndarray) -> list[pa.Array]:
        scores = self.scores(table, chosen)
        return [lists(scores[:, :1] - scores[:, 1:], pa.float32())]

    def labels(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        """The margins that a row of `ids.parquet` calls for."""
        return single([row["positive_score"] - score for score in row["negative_scores"]])
