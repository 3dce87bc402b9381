"""What rules over scores share."""

from __future__ import annotations

import numpy as np

from stages.judging import Labels


def at_most(score: np.ndarray, limit: np.ndarray) -> Labels:
    """Keeps score ≤ limit, both float64 (n,). Where either is not finite the rule cannot be computed, and drops."""
    with np.errstate(invalid="ignore"):
        passes = np.isfinite(score) & np.isfinite(limit) & (score <= limit)
    return Labels(~passes, score, limit)
