"""sentence-transformers, margins of several negatives: `query`, `positive`, `negative_1` … `negative_n`, `label`.

`label` lists the score of the positive minus that of each negative, n float32. For MarginMSELoss, also of sparse and
multi-vector encoders (Hofstätter et al. 2020, arXiv:2010.02666).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from stages.exporters._st_scored import Scored, lists

CHECKED = {"sentence-transformers": "6.2.0", "datasets": "5.2.0"}
LOADER = "datasets"


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
