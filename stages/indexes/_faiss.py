"""What the FAISS indexes share: searching, saving, and loading with limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stages.errors import ArtefactError, ConfigError


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

    def part(self, start: int, stop: int) -> FaissPart:
        """See `stages.search.Parted`. Raises ConfigError where FAISS cannot search a part of this kind of index."""
        import faiss

        chosen = faiss.IDSelectorRange(start, stop)
        return FaissPart(self.index, start, _parameters(self.index, chosen), chosen)


@dataclass(frozen=True)
class FaissPart:
    """Some documents of a FAISS index, by their range; the index visits what it always does and passes over the others."""

    index: Any
    start: int
    parameters: Any
    chosen: Any  # the parameters point to it

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `FaissSearcher.search`; row 0 is the first of the range."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        scores, rows = self.index.search(queries, k, params=self.parameters)
        return scores, np.where(rows < 0, -1, rows - self.start)


def _parameters(index: Any, chosen: Any) -> Any:
    """How to search the chosen documents of an index, and everything else as the index has it."""
    import faiss as library

    faiss: Any = library  # its wrappers take keywords that its stubs do not know
    index = faiss.downcast_index(index)
    match index:
        case faiss.IndexRefine():
            inner = _parameters(index.base_index, chosen)
            return faiss.IndexRefineSearchParameters(k_factor=index.k_factor, base_index_params=inner)
        case faiss.IndexPreTransform():
            return faiss.SearchParametersPreTransform(index_params=_parameters(index.index, chosen))
        case faiss.IndexIVF():
            kind = faiss.SearchParametersIVF if not isinstance(index, faiss.IndexIVFPQ) else faiss.IVFPQSearchParameters
            return kind(sel=chosen, nprobe=index.nprobe)
        case faiss.IndexHNSW():
            return faiss.SearchParametersHNSW(sel=chosen, efSearch=index.hnsw.efSearch)
        case faiss.IndexFlat():
            return faiss.SearchParameters(sel=chosen)
    raise ConfigError(
        "FAISS does not search a part of this index, as a corpus of texts and pictures asks for",
        where="index.kind",
        got=type(index).__name__,
        try_='name = "exact", or a factory of IVF or HNSW lists',
    )


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
