"""What a retriever is given, and what it gives back.

A retriever is opened once over the documents and over all queries that will be asked, so that whatever hangs on the company
a text is encoded in does not hang on shards. It is then searched for some of these queries at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from stages.spec import Bar, Context, Source
from stages.text import joined


class Opened(Protocol):
    """A retriever that is ready to be searched."""

    @property
    def counts(self) -> Mapping[str, int]:
        """What a person should know of how it was opened: texts cut short, lines left out."""
        ...

    def search(self, which: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows int32 (w, k) and scores float64 (w, k) for the queries at the places `which` int64 (w,) of the collection.

        By the retriever's own order, the best first. Where there are fewer than k hits the rest is row -1, score -inf.
        """
        ...


class Retriever(Protocol):
    """A kind of retriever, one file in `retrievers/`."""

    @property
    def name(self) -> str: ...

    def semantic(self) -> dict[str, Any]: ...

    def fingerprint(self) -> str:
        """A hash of what it reads outside of the workspace; empty when that is nothing."""
        ...


class Opens(Retriever, Protocol):
    """A retriever that searches by itself: all but the saved index."""

    def open(self, collection: Collection) -> Opened: ...


@dataclass(frozen=True)
class Collection:
    """The documents, the m queries that will be asked, and the means to encode them. Nothing is read before it is used."""

    corpus: Source
    queries: Source
    rows: np.ndarray  # int64 (m,), rows in queries, ascending
    context: Context

    @property
    def documents(self) -> int:
        """How many documents there are."""
        return self.corpus.rows

    @cached_property
    def texts(self) -> list[str]:
        """What is encoded of each document."""
        return joined(self.corpus.read(["title", "text"]))

    @cached_property
    def doc_ids(self) -> pa.ChunkedArray:
        return self.corpus.read(["doc_id"])["doc_id"]

    @cached_property
    def query_texts(self) -> list[str]:
        """The text of each of the m queries."""
        return list(self._of_queries("text").to_pylist())

    @cached_property
    def prompts(self) -> list[str | None]:
        """The prompt of each of the m queries that has one of its own."""
        return list(self._of_queries("prompt").to_pylist())

    @cached_property
    def query_ids(self) -> pa.ChunkedArray:
        """The ids of all queries in the data, by row."""
        return self.queries.read(["query_id"])["query_id"]

    @property
    def device(self) -> str:
        return self.context.device

    def progress(self, says: str, total: int) -> AbstractContextManager[Bar]:
        return self.context.progress(says, total)

    def kept(self, name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Arrays that are dear to make: made once, and found again after a kill."""
        place: Path = self.context.scratch / f"{name}.npz"
        found = _arrays(place)
        if found is None:
            found = make()
            unfinished = place.with_name(f".{name}.{os.getpid()}.npz")
            np.savez(unfinished, **found)  # type: ignore[arg-type]
            unfinished.replace(place)
        return found

    def _of_queries(self, column: str) -> pa.ChunkedArray:
        return self.queries.read([column])[column].take(pa.array(self.rows))


def _arrays(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a file that `np.savez` wrote; None when it is not there or was torn by a power loss."""
    try:
        with np.load(path, allow_pickle=False) as found:
            arrays = {key: found[key] for key in found.files}
    except Exception:  # what a torn archive raises hangs on where it was torn
        return None
    return arrays if all(isinstance(array, np.ndarray) for array in arrays.values()) else None


def best(scores: np.ndarray, found: np.ndarray, k: int) -> np.ndarray:
    """Which k of the documents `found` int64 (f,), ascending, score highest in `scores` float64 (n,); equal scores by row."""
    if len(found) > k:
        worst = np.partition(scores[found], len(found) - k)[len(found) - k]
        found = found[scores[found] >= worst]
    return found[np.lexsort((found, -scores[found]))][:k]
