"""Every query against every document: exact, and for one join of up to about 1e11 pairs also the fastest."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from stages.indexes import _faiss
from stages.indexes._faiss import FaissSearcher
from stages.registry import Member


class Flat(Member):
    """FAISS IndexFlatIP. Memory: 4 bytes a value."""

    @property
    def exact(self) -> bool:
        """The k best by float32 score are always found."""
        return True

    def build(self, vectors: Iterable[np.ndarray], rows: int, dimensions: int) -> FaissSearcher:
        """An index over blocks of float32 (n, d)."""
        import faiss

        index = faiss.IndexFlatIP(dimensions)
        for block in vectors:
            index.add(np.ascontiguousarray(block, dtype=np.float32))
        return FaissSearcher(index)

    def save(self, built: FaissSearcher, path: Path) -> None:
        """Writes what `build` gave."""
        _faiss.save(built, path)

    def load(self, path: Path, rows: int, dimensions: int) -> FaissSearcher:
        """Reads what `save` wrote. Raises ArtefactError."""
        return _faiss.load(path, rows, dimensions)
