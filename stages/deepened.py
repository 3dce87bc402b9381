"""The judged candidates together with those that were found by searching deeper, read as one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stages.errors import ArtefactError
from stages.judging import numbers
from stages.spec import Source

KEY = ("query_row", "positive_row")


class Deepened:
    """A `Source` whose parts are those of judged, each with its deepened rows in their place: rank follows rank."""

    def __init__(self, judged: Source, deepened: Source) -> None:
        """Raises ArtefactError when the two do not have the same number of parts."""
        if len(judged.parts) != len(deepened.parts):
            raise ArtefactError(
                "judged and deepened do not belong together",
                got=f"{len(judged.parts)} parts and {len(deepened.parts)} parts",
                try_="deepen again",
            )
        self._judged, self._deepened = judged, deepened

    @property
    def rows(self) -> int:
        return self._judged.rows + self._deepened.rows

    @property
    def schema(self) -> pa.Schema:
        return self._judged.schema

    @property
    def parts(self) -> tuple[str, ...]:
        return self._judged.parts

    @property
    def facts(self) -> Mapping[str, Any]:
        return self._judged.facts

    def read(self, columns: Sequence[str] | None = None, part: str | None = None) -> pa.Table:
        parts = self.parts if part is None else (part,)
        if not parts:
            return self._judged.read(columns)
        return pa.concat_tables([self._part(columns, each) for each in parts])

    def batches(
        self, columns: Sequence[str] | None = None, rows: int = 65_536, start: int = 0
    ) -> Iterator[pa.RecordBatch]:
        for part in self.parts:
            table = self._part(columns, part)
            yield from table.slice(min(start, table.num_rows)).to_batches(max_chunksize=rows)
            start = max(start - table.num_rows, 0)

    def path(self) -> Path:
        return self._judged.path()

    def _part(self, columns: Sequence[str] | None, part: str) -> pa.Table:
        wanted = None if columns is None else [*columns, *(name for name in KEY if name not in columns)]
        more = self._deepened.read(wanted, part=self._deepened.parts[self.parts.index(part)])
        if not more.num_rows:
            return self._judged.read(columns, part=part)
        both = pa.concat_tables([self._judged.read(wanted, part=part), more])
        query, positive = both["query_row"].to_numpy(), numbers(both["positive_row"], -1)
        ordered = both.take(pa.array(np.lexsort((positive, query))))  # which keeps the order of the ranks
        return ordered if columns is None else ordered.select(list(columns))
