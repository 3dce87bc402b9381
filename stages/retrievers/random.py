"""Documents drawn at random: what any other way of mining has to beat.

Each query draws its own, by (seed, its row) alone, so shards and other queries change nothing.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from stages.registry import Member
from stages.retrieval import Collection


class Random(Member):
    """Draws documents without replacement, each as likely as the next."""

    seed: int = Field(
        0, ge=0, lt=2**63, description="seed of the draw; another seed is another draw of the same quality"
    )

    def fingerprint(self) -> str:
        """Nothing outside of the workspace is read."""
        return ""

    def open(self, collection: Collection) -> RandomSearch:
        """Reads no text."""
        return RandomSearch(self.seed, collection.rows, collection.documents)


class RandomSearch:
    """Draws for the queries that will be asked."""

    def __init__(self, seed: int, rows: np.ndarray, documents: int) -> None:
        self._seed, self._rows, self._documents = seed, rows, documents
        self.counts: dict[str, int] = {}

    def search(self, which: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `stages.retrieval.Opened.search`; the score falls from 1 with the order of drawing and says nothing else."""
        rows, scores = np.full((len(which), k), -1, dtype=np.int32), np.full((len(which), k), -np.inf)
        count = min(k, self._documents)
        for i, query in enumerate(self._rows[which].tolist()):
            rows[i, :count] = np.random.default_rng([self._seed, query]).choice(self._documents, count, replace=False)
        scores[:, :count] = 1.0 / np.arange(1, count + 1)
        return rows, scores
