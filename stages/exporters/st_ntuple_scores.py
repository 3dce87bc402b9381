"""sentence-transformers, several negatives and their scores: `anchor`, `positive`, `negative_1` … `negative_n`, `scores`.

`scores` lists the score of the positive and of each negative, n + 1 float32. `scores` is one of the names that the trainer
takes as a label; any other name would be a text. For DistillKLDivLoss and MarginMSELoss, also of sparse and multi-vector
encoders. The scores are those of the triplets, so a teacher's where a teacher gave them.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from stages.exporters._st_columns import CHECKED, LOADER
from stages.exporters._st_scored import Scored, lists

__all__ = ["CHECKED", "LOADER", "StNtupleScores"]


class StNtupleScores(Scored):
    """Rows of (anchor, positive, n negatives, scores), one for each query and positive that has n."""

    @property
    def data(self) -> pa.Schema:
        """The columns that the trainer reads, in order."""
        return super().data.append(pa.field("scores", pa.list_(pa.float32())))

    def _labels(self, table: pa.Table, chosen: np.ndarray) -> list[pa.Array]:
        return [lists(self.scores(table, chosen), pa.float32())]
