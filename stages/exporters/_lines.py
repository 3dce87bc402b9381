"""Formats of JSON in one file: such a format is one function from an `Example` to an object, in memory for one batch of triplets.

Where its loader guesses types from the bytes of a file, what that hangs on is noted beside each piece and followed when they are joined.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from stages.errors import InputError
from stages.exporters._common import Texts, dumps
from stages.exporters._parquet import id_rows
from stages.exporters._pieces import OneFile
from stages.exporters._rows import IDS, Example, examples
from stages.spec import Source

SIZES, KINDS = "sizes.npy", "kinds.json"


class Lines(OneFile):
    """Base of these formats: one row for each query, or with `per_pair` for each query and positive."""

    per_pair: ClassVar[bool] = False

    @property
    def sidecar(self) -> pa.Schema:
        """The columns of `ids.parquet`."""
        return IDS

    @abstractmethod
    def _line(self, example: Example, left_out: Counter[str]) -> Any:
        """The object of an example; None where it is left out, and why is counted."""

    def rows_of(
        self, triplets: Source, texts: Texts, folder: Path, left_out: Counter[str], escaped: Counter[str]
    ) -> int:
        """The objects of these triplets, and where it matters what each looks like to a loader."""
        frame, rows, seen = self.framed, 0, _Seen()
        (folder / frame.name).parent.mkdir(parents=True)
        with (folder / frame.name).open("wb") as file, id_rows(folder, IDS) as sidecar:
            for batch in examples(triplets, texts, left_out, self.per_pair):
                kept = []
                for example in batch:
                    found = self._line(example, left_out)
                    if found is None:
                        left_out["negatives_of_rows_left_out"] += len(example.triplets)
                        continue
                    encoded = dumps(found).encode()
                    if frame.typed:
                        seen.add(found, len(encoded) + 1)
                    file.write((frame.between if rows else b"") + encoded)
                    kept.append(example.ids())
                    rows += 1
                sidecar.write(pa.Table.from_pylist(kept, schema=IDS))
        if frame.typed:
            seen.write(folder)
        return rows

    def joined(self, pieces: Sequence[Path], folder: Path) -> tuple[str, ...]:
        """The file, unless its loader would take texts for dates: raises InputError then."""
        if self.framed.typed:
            types = Types(self.framed.name)
            for look, size in chain.from_iterable(map(_seen, pieces)):
                types.adds(look, size)
            types.ends()
        return super().joined(pieces, folder)


Look = tuple[frozenset[str], frozenset[str]]
"""The fields of a line of which a text is a date, and those of which one is not."""


def look_of(line: Any) -> Look:
    """What a line of JSON looks like to a loader that guesses types."""
    dated: set[str] = set()
    other: set[str] = set()
    for path, text in _leaves(line, ""):
        (dated if Types.DATE.fullmatch(text) else other).add(path)
    return frozenset(dated), frozenset(other)


class Types:
    """Follows how `datasets` guesses the types of JSON lines: once for each chunk of ten megabytes, ended by a whole line.

    A field of which every text in a chunk is a date becomes a timestamp, and the text is lost. Raises InputError then.
    """

    CHUNK = 10 << 20  # bytes
    DATE = re.compile(r"\d{4}-\d{2}-\d{2}[\d T:.,Z+-]*", re.ASCII)  # more than what it takes for a date

    def __init__(self, file: str) -> None:
        self._file, self._lines, self._first, self._bytes = file, 0, 1, 0
        self._dated: set[str] = set()
        self._other: set[str] = set()

    def sees(self, line: Any, size: int) -> None:
        """The next line, and its bytes with the line's end."""
        self.adds(look_of(line), size)

    def adds(self, look: Look, size: int) -> None:
        """The look of the next line, and its bytes."""
        if self._bytes == 0:
            self._dated, self._other, self._first = set(), set(), self._lines + 1
        self._lines += 1
        self._bytes += size
        self._dated |= look[0]
        self._other |= look[1]
        if self._bytes > self.CHUNK:
            self.ends()
            self._bytes = 0

    def ends(self) -> None:
        """The end of a chunk, or of the file."""
        if wrong := self._dated - self._other:
            raise InputError(
                "the loader of this format would turn texts or ids into timestamps",
                where=f"{self._file}, lines {self._first} to {self._lines}",
                got=f"nothing but dates in {', '.join(sorted(wrong))}",
                try_="export to a format of Parquet files, or add other texts",
            )


class _Seen:
    """The look of every line and its size. There are few looks."""

    def __init__(self) -> None:
        self._looks: dict[Look, int] = {}
        self._lines: list[tuple[int, int]] = []

    def add(self, line: Any, size: int) -> None:
        look = look_of(line)
        self._lines.append((self._looks.setdefault(look, len(self._looks)), size))

    def write(self, folder: Path) -> None:
        looks = [[sorted(dated), sorted(other)] for dated, other in self._looks]
        (folder / KINDS).write_text(dumps(looks), encoding="utf-8")
        np.save(folder / SIZES, np.array(self._lines, dtype=np.int64).reshape(-1, 2), allow_pickle=False)


def _seen(folder: Path) -> Iterator[tuple[Look, int]]:
    """What `_Seen` has written."""
    looks = [(frozenset(dated), frozenset(other)) for dated, other in json.loads((folder / KINDS).read_bytes())]
    for look, size in np.load(folder / SIZES, allow_pickle=False).tolist():
        yield looks[look], size


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, path)
