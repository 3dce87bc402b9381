"""Whether queries find the documents that they were made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from stages.errors import HardrockError
from stages.retrieval import Collection, Opens
from stages.schemas import CORPUS, QUERIES
from stages.spec import Context
from stages.viewing import Passages

_BLOCK = 1_024  # queries a call of the retriever


def finds(
    made: Sequence[tuple[int, str]], passages: Passages, check: Opens, within: int, context: Context
) -> np.ndarray:
    """For each of m queries with the place of its document, whether that is among the first `within`: bool (m,).

    Texts of documents and queries are held in memory.
    """
    own = np.array([place for place, _ in made])
    queries = [text for _, text in made]
    texts = [passage.encoded for passage in passages()]
    collection = _Texts(_documents(texts), _queries(queries), np.arange(len(queries)), context)
    opened = check.open(collection)
    k = min(within, len(texts))
    kept = np.zeros(len(own), dtype=bool)
    for start in range(0, len(own), _BLOCK):
        which = np.arange(start, min(start + _BLOCK, len(own)))
        rows, _ = opened.search(which, k)  # (w, k)
        kept[which] = (rows == own[which, None]).any(axis=1)
    return kept


class _Texts(Collection):
    """A collection whose queries may be others after a kill: nothing of it is kept."""

    def kept(self, name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        return make()


def _documents(texts: Sequence[str]) -> _Held:
    names = [str(place) for place in range(len(texts))]
    nothing = pa.nulls(len(texts))
    return _Held(
        pa.table(
            [
                np.arange(len(texts), dtype=np.int32),
                names,
                nothing,
                list(texts),
                nothing,
                nothing,
                nothing,
                np.zeros(len(texts), np.int64),
            ],
            schema=CORPUS,
        )
    )


def _queries(texts: Sequence[str]) -> _Held:
    names = [str(place) for place in range(len(texts))]
    same = [["train"] * len(texts), pa.nulls(len(texts)), ["synthetic"] * len(texts)]
    return _Held(
        pa.table(
            [
                np.arange(len(texts), dtype=np.int32),
                names,
                list(texts),
                *same,
                pa.nulls(len(texts)),
                np.zeros(len(texts), np.int64),
            ],
            schema=QUERIES,
        )
    )


@dataclass(frozen=True)
class _Held:
    """A table in memory as a `stages.spec.Source`."""

    table: pa.Table
    facts: dict[str, Any] = field(default_factory=dict)
    parts: tuple[str, ...] = ("0",)

    @property
    def rows(self) -> int:
        return int(self.table.num_rows)

    @property
    def schema(self) -> pa.Schema:
        return self.table.schema

    def read(self, columns: Sequence[str] | None = None, part: str | None = None) -> pa.Table:
        return self.table if columns is None else self.table.select(list(columns))

    def batches(
        self, columns: Sequence[str] | None = None, rows: int = 65_536, start: int = 0
    ) -> Iterator[pa.RecordBatch]:
        yield from self.read(columns).slice(start).to_batches(max_chunksize=rows)

    def path(self) -> Any:
        raise HardrockError("a table in memory has no path")
