"""What ingest holds in memory while it reads: judgements as columns, and pictures by their bytes and names."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from stages.imaging import Proved
from stages.intake import Buffer
from stages.records import Judgement, Picture, stable_hash
from stages.schemas import PICTURES


class HeldJudgements:
    """Judgements as columns, in the order of reading, until the queries have rows."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}  # number of each query id
        self._names: dict[str, int] = {}  # number of each file and each source
        self.code, self.doc_row, self.relevance, self._file, self._source = (array("i") for _ in range(5))
        self._line = array("q")

    def add(self, item: Judgement, doc_row: int) -> None:
        self.code.append(self.codes.setdefault(item.query_id, len(self.codes)))
        self.doc_row.append(doc_row)
        self.relevance.append(item.relevance)
        self._line.append(item.line)
        self._file.append(self._names.setdefault(item.file, len(self._names)))
        self._source.append(self._names.setdefault(item.source, len(self._names)))

    def places(self, numbers: Iterable[int]) -> Iterator[tuple[str, int, str]]:
        """File, line and query id of some of the judgements."""
        names, ids = list(self._names), list(self.codes)
        for i in numbers:
            yield names[self._file[i]], self._line[i], ids[self.code[i]]

    def sources(self, numbers: np.ndarray) -> pa.Array:
        return pa.array(list(self._names), pa.string()).take(pa.array(np.array(self._source, dtype=np.int32)[numbers]))


class HeldPictures:
    """The table of pictures, each with other bytes than those before it."""

    def __init__(self, part_rows: int) -> None:
        self.rows = Buffer(PICTURES, part_rows)
        self._row: dict[int, int] = {}  # by the hash of the bytes that were given
        self._named: dict[int, tuple[int, int]] = {}  # row and hash of the pixels by the hash of a name
        self.counts: Counter[str] = Counter()

    def knows(self, picture: Picture) -> bool:
        """Whether a picture of this name is stored."""
        return stable_hash(picture.name) in self._named

    def add(self, picture: Picture | Proved) -> tuple[int, int]:
        """The row of a picture and the hash of its pixels; one that is not decoded again is known by its name."""
        if not isinstance(picture, Proved):
            return self._named[stable_hash(picture.name)]
        row = self._row.setdefault(picture.given, len(self._row))
        if row == self.counts["pictures.kept"]:  # a new one
            self.counts["pictures.kept"] += 1
            if picture.changed:
                self.counts[f"pictures.{picture.changed}"] += 1
            values = (row, picture.image, picture.format, picture.width, picture.height, picture.pixels)
            self.rows.add(*values, characters=len(picture.image))
        if picture.name:
            self._named[stable_hash(picture.name)] = row, picture.pixels
        return row, picture.pixels
