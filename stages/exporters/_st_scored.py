"""n-tuples with a label for each row that is made of the scores: rows with a score missing are left out, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from stages.exporters._rows import scores_of, single
from stages.exporters.st_ntuple import StNtuple


class Scored(StNtuple):
    """Base of n-tuples with scores."""

    def _usable(self, table: pa.Table, chosen: np.ndarray, left_out: Counter[str]) -> np.ndarray:
        known = np.isfinite(self.scores(table, chosen)).all(axis=1)
        left_out["pairs_with_a_score_missing"] += int((~known).sum())
        left_out["negatives_of_pairs_with_a_score_missing"] += int((~known).sum()) * self.negatives
        usable: np.ndarray = chosen[known]
        return usable

    def scores(self, table: pa.Table, chosen: np.ndarray) -> np.ndarray:
        """Scores of the positive and of each negative: float64 (m, 1 + n), NaN for one that is not known."""
        positive, negative = (
            table.column(f"{kind}_score").to_numpy().astype(np.float64) for kind in ("positive", "negative")
        )
        return np.concatenate([positive[chosen[:, :1]], negative[chosen]], axis=1)

    def labels(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        """The scores that a row of `ids.parquet` calls for."""
        return single(scores_of(row))


def lists(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    """A list of `kind` for each row of values (m, k)."""
    offsets = pa.array(np.arange(len(values) + 1) * values.shape[1], pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(values.reshape(-1)).cast(kind))
