"""A small collection of texts with real vectors, and what retrievers are opened over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stages.retrieval import Collection
from tests.models import corpus, queries
from tests.support import TestContext

DOCUMENTS = [
    "fracture of the left femur", "fracture of the right femur", "burn of the hand", "burn of the left wrist",
    "open wound of the jaw", "infection of the spine", "broken wrist", "tuberculosis of lung", "fracture of femur",
    "scald of the hand", "pneumonia", "infection of the jaw",
]  # fmt: skip
QUERIES = ["femur fracture", "burn on a hand", "zebra", "jaw infection", "lung tuberculosis"]


def collection(folder: Path, rows: list[int] | None = None, **given: Any) -> Collection:
    folder.mkdir(parents=True, exist_ok=True)
    return Collection(
        given.get("corpus") or corpus(DOCUMENTS),
        given.get("queries") or queries(QUERIES),
        np.array(range(len(QUERIES)) if rows is None else rows, dtype=np.int64),
        TestContext(scratch=folder, device=given.get("device", "cpu")),
    )


def hits(found: tuple[np.ndarray, np.ndarray]) -> list[list[int]]:
    """Rows of each query without the padding, which must lie at the end with score -inf."""
    rows, scores = found
    assert (rows.dtype, scores.dtype) == (np.int32, np.float64)
    assert np.array_equal(rows < 0, np.isneginf(scores))
    assert not np.any((rows[:, :-1] < 0) & (rows[:, 1:] >= 0))
    return [[d for d in each if d >= 0] for each in rows.tolist()]
