"""Any index that FAISS describes by a string: IVF256,Flat or HNSW32 or IVF1024,PQ96x4fs,RFlat.

Vectors must be finite, as the embed stage makes sure: quantisers answer a NaN with a score above all others.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from stages.errors import ConfigError
from stages.indexes import _faiss
from stages.indexes._cells import CellSearcher
from stages.indexes._faiss import FaissSearcher
from stages.registry import Member


class Factory(Member):
    """An approximate index. It is trained and filled in one thread, so that the same vectors give the same index."""

    factory: str = Field(description="FAISS's index factory string; its kind decides memory, build time and recall")
    nprobe: int | None = Field(
        None, ge=1, description="IVF lists visited a query; none is FAISS's own. Time and recall grow with it"
    )
    ef_search: int | None = Field(
        None, ge=1, description="HNSW nodes kept in view a query; none is FAISS's own. Time and recall grow with it"
    )
    refine_factor: float | None = Field(
        None,
        ge=1,
        description="of a string that ends in RFlat: documents scored again in full, as a multiple of what is asked for; "
        "none is FAISS's own, 1. Time and recall grow with it",
    )
    train_rows: int = Field(
        65_536,
        ge=1,
        description="vectors that the index is trained on, drawn with the seed; k-means wants 39 to 256 a list",
    )
    seed: int = Field(0, ge=0, description="seed of the draw and of k-means")

    @property
    def exact(self) -> bool:
        """Documents may be missed."""
        return False

    def build(self, vectors: Iterable[np.ndarray], rows: int, dimensions: int) -> FaissSearcher | CellSearcher:
        """An index over blocks of float32 (n, d). Raises ConfigError when FAISS refuses the string or the number of vectors."""
        import faiss

        try:
            index = faiss.index_factory(dimensions, self.factory, faiss.METRIC_INNER_PRODUCT)
            self._seed(index)
            with _faiss.one_thread():
                if not index.is_trained:
                    index.train(self._sample(vectors, rows, dimensions))
                for block in vectors:
                    index.add(np.ascontiguousarray(block, dtype=np.float32))
            self._tune(index)
        except RuntimeError as error:
            reason = str(error).rpartition("Error: ")[2] or str(error)
            raise ConfigError(
                f"FAISS cannot build {self.factory!r} over {rows} vectors of {dimensions} values",
                where="index.kind",
                got=reason,
            ) from None
        return _searcher(index)

    def save(self, built: FaissSearcher | CellSearcher, path: Path) -> None:
        """Writes what `build` gave, with nprobe, ef_search and refine_factor in it."""
        _faiss.save(built, path)

    def load(self, path: Path, rows: int, dimensions: int) -> FaissSearcher | CellSearcher:
        """Reads what `save` wrote. Raises ArtefactError."""
        return _searcher(_faiss.load(path, rows, dimensions).index)

    def _sample(self, vectors: Iterable[np.ndarray], rows: int, dimensions: int) -> np.ndarray:
        """Up to `train_rows` vectors, drawn without replacement, in order: float32 (t, d)."""
        count = min(self.train_rows, rows)
        chosen = np.sort(np.random.default_rng(self.seed).choice(rows, count, replace=False))
        sample = np.empty((count, dimensions), dtype=np.float32)
        start = 0
        for block in vectors:
            low, high = np.searchsorted(chosen, [start, start + len(block)])
            sample[low:high] = block[chosen[low:high] - start]
            start += len(block)
        return sample

    def _seed(self, index: Any) -> None:
        import faiss

        if isinstance(index, faiss.IndexRefine):
            index = faiss.downcast_index(index.base_index)
        inside: Any = faiss.downcast_index(faiss.try_extract_index_ivf(index) or index)
        for trained in (inside, getattr(inside, "pq", inside)):
            if hasattr(trained, "cp"):
                trained.cp.seed = self.seed

    def _tune(self, index: Any) -> None:
        import faiss

        space = faiss.ParameterSpace()
        for parameter, value in (
            ("nprobe", self.nprobe),
            ("efSearch", self.ef_search),
            ("k_factor_rf", self.refine_factor),
        ):
            if value is not None:
                space.set_index_parameter(index, parameter, value)


def _searcher(index: Any) -> FaissSearcher | CellSearcher:
    """Plain inverted lists are searched cell by cell, which pays the more lists are probed (4,000 queries × 200,000
    documents: 1.2 times as fast as FAISS's own way at 16 lists of 2,048, 2.7 at 64, 5.1 at 256); all else by FAISS.
    """
    import faiss

    return CellSearcher(index) if type(index) is faiss.IndexIVFFlat else FaissSearcher(index)
