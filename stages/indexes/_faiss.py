"""What the FAISS indexes share: searching, saving, and loading with limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stages.errors import ArtefactError


@dataclass(frozen=True)
class FaissSearcher:
    """A FAISS index by inner product."""

    index: Any

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 (m, k) in descending order and rows int64 (m, k); row -1 is no hit.

        FAISS uses a matrix product only for calls with many queries: give it thousands.
        """
        scores, rows = self.index.search(np.ascontiguousarray(queries, dtype=np.float32), k)
        return scores, rows


class Built(Protocol):
    """Whatever searches a FAISS index."""

    @property
    def index(self) -> Any: ...


def save(built: Built, path: Path) -> None:
    """Writes an index to a file."""
    import faiss

    faiss.write_index(built.index, str(path))


def load(path: Path, rows: int, dimensions: int) -> FaissSearcher:
    """Reads an index. Raises ArtefactError when it is missing, damaged or of another shape.

    No vector inside an index may be larger than the file, so a damaged length is refused before memory is taken for it.
    """
    import faiss

    if not path.is_file():
        raise ArtefactError("the index is not there", where=str(path), try_="run the index stage")
    before = faiss.get_deserialization_vector_byte_limit()
    faiss.set_deserialization_vector_byte_limit(
        max(1 << 20, 8 * path.stat().st_size)
    )  # it compares with a quarter of this
    try:
        index = faiss.read_index(str(path))
    except (RuntimeError, MemoryError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise ArtefactError(
            "the index cannot be read", where=str(path), got=lines[0], try_="run the index stage again"
        ) from None
    finally:
        faiss.set_deserialization_vector_byte_limit(before)
    if (index.ntotal, index.d) != (rows, dimensions) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise ArtefactError(
            "the index does not belong to these vectors",
            where=str(path),
            got=f"{index.ntotal} vectors of {index.d} values, expected {rows} of {dimensions} by inner product",
            try_="run the index stage again",
        )
    return FaissSearcher(index)


@contextmanager
def one_thread() -> Iterator[None]:
    """Makes FAISS work in one thread, so that what is built does not hang on how threads take turns."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
