"""Every query against every document: exact, and for one join of up to about 1e11 pairs also the fastest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.errors import ArtefactError
from stages.indexes import _faiss
from stages.indexes._faiss import FaissSearcher
from stages.registry import Member


@dataclass(frozen=True)
class FlatSearcher(FaissSearcher):
    """A FAISS index that holds the vectors as they are."""

    @property
    def vectors(self) -> np.ndarray:
        """float32 (n, d) in row order, the index's own memory."""
        import faiss

        if not self.index.ntotal:
            return np.empty((0, self.index.d), dtype=np.float32)
        values = faiss.rev_swig_ptr(self.index.get_xb(), self.index.ntotal * self.index.d)
        return np.asarray(values).reshape(self.index.ntotal, self.index.d)


class Flat(Member):
    """FAISS IndexFlatIP. Memory: 4 bytes a value."""

    @property
    def exact(self) -> bool:
        """The k best by float32 score are always found."""
        return True

    def build(self, vectors: Iterable[np.ndarray], rows: int, dimensions: int) -> FlatSearcher:
        """An index over blocks of float32 (n, d)."""
        import faiss

        index = faiss.IndexFlatIP(dimensions)
        for block in vectors:
            index.add(np.ascontiguousarray(block, dtype=np.float32))
        return FlatSearcher(index)

    def save(self, built: FaissSearcher, path: Path) -> None:
        """Writes what `build` gave."""
        _faiss.save(built, path)

    def load(self, path: Path, rows: int, dimensions: int) -> FlatSearcher:
        """Reads what `save` wrote. Raises ArtefactError."""
        index = _faiss.load(path, rows, dimensions).index
        if not hasattr(index, "get_xb"):
            raise ArtefactError(
                "the index is of another kind",
                where=str(path),
                got=type(index).__name__,
                try_="run the index stage again",
            )
        return FlatSearcher(index)
