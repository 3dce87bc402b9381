"""Whether an export holds every triplet, in order and each once, or says in `export.json` why it leaves some out.

`ids.parquet` is held against the triplets themselves, query by query: what a row names must be there in the order of the
triplets, with the same scores. A reason whose name begins with `negatives_` counts triplets; together these must be all
that no row holds. Other reasons count rows, and explain them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.errors import ArtefactError
from stages.exporters._common import BATCH, Texts, whole_groups
from stages.spec import Source

IDS = "ids.parquet"
Seen = tuple[Any, ...]  # a row of the corpus, and what goes with it: its score, its rank


def intact(name: str, folder: Path) -> Mapping[str, Any]:
    """What `export.json` says. Raises ArtefactError where a file is missing, changed, or there without being named."""
    try:
        described: Mapping[str, Any] = json.loads((folder / "export.json").read_text("utf-8"))
        files: Mapping[str, Mapping[str, Any]] = described["files"]
    except (OSError, ValueError, KeyError) as error:
        raise _fault(name, folder / "export.json", "the description cannot be read", str(error)) from error
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {"export.json"}
    for file in sorted(there ^ set(files)):
        missing = file not in there
        raise _fault(name, folder / file, "a file is missing" if missing else "a file is not in export.json", file)
    for file, wanted in files.items():
        with (folder / file).open("rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != wanted["sha256"]:
                raise _fault(name, folder / file, "a file is not what was exported", "another sha256")
    return described


def complete(name: str, triplets: Source, texts: Texts, folder: Path, left_out: Mapping[str, int]) -> int:
    """How many triplets the export holds. Raises ArtefactError for one too many, one too few, or one out of order."""
    rows, given, held = _Rows(name, texts, folder / IDS), 0, 0
    pairs_only = not {"negative_row", "negative_rows"} & set(pq.read_schema(folder / IDS).names)
    for table, edges in whole_groups(triplets, ("query_row",)):
        columns = (table.column(c).to_pylist() for c in _TRIPLET)
        everything = list(zip(*columns, strict=True))
        for start, stop in pairwise(edges):
            group = everything[start:stop]
            given += len(group)
            found, where = rows.of(group[0][0]), f"{folder / IDS}, query {group[0][0]}"
            if pairs_only:
                _pairs(name, where, group, found)
            elif found:
                held += _held(name, where, group, found)
    rows.end()
    counted = sum(count for reason, count in left_out.items() if reason.startswith("negatives_"))
    if given - held != counted:
        raise _fault(
            name,
            folder / IDS,
            "triplets are missing, and not counted as left out",
            f"{held:,} of {given:,} triplets, and {counted:,} counted",
        )
    return held


_TRIPLET = ("query_row", "positive_row", "negative_row", "positive_score", "negative_score", "rank")


class _Rows:
    """The rows of `ids.parquet`, taken query by query, with their ids held against the tables."""

    def __init__(self, name: str, texts: Texts, path: Path) -> None:
        self._name, self._texts, self._path = name, texts, path
        self._rows = self._read()
        self._next = next(self._rows, None)
        self._taken = 0

    def of(self, query: int) -> list[dict[str, Any]]:
        """The next rows, as long as they are of this query."""
        found = []
        while self._next is not None and self._next["query_row"] == query:
            found.append(self._next)
            self._next = next(self._rows, None)
        self._taken += len(found)
        return found

    def end(self) -> None:
        """Raises ArtefactError where rows are left: of a query without triplets, or not in the order of the triplets."""
        if self._next is not None:
            where = f"{self._path}, row {self._taken}"
            raise _fault(self._name, where, "a row is of no triplet, or not in their order", repr(self._next))

    def _read(self) -> Iterator[dict[str, Any]]:
        for batch in pq.ParquetFile(self._path).iter_batches(BATCH):
            table = pa.Table.from_batches([batch])
            for kind, ids in (("query", self._texts.query_ids), *((k, self._texts.doc_ids) for k in _KINDS)):
                for ending in ("", "s"):
                    if f"{kind}_id{ending}" in table.column_names:
                        self._same(table, f"{kind}_id{ending}", f"{kind}_row{ending}", ids)
            yield from table.to_pylist()

    def _same(self, table: pa.Table, named: str, rows: str, ids: pa.Array) -> None:
        names, numbers = (_flat(table.column(column)) for column in (named, rows))
        if names.to_pylist() != ids.take(numbers).to_pylist():
            raise _fault(self._name, self._path, f"{named} and {rows} are not of the same texts", "another id")


_KINDS = ("positive", "negative")


def _flat(column: pa.ChunkedArray) -> pa.Array:
    whole = pa.concat_arrays(column.chunks)
    return whole.flatten() if pa.types.is_list(whole.type) else whole


def _pairs(name: str, where: str, group: Sequence[Seen], rows: Sequence[Mapping[str, Any]]) -> None:
    """Raises ArtefactError unless the rows are the query's pairs, each once: for a format without negatives."""
    wanted = _firsts([(p, s) for _, p, _, s, _, _ in group])
    found = [(row["positive_row"], row["positive_score"]) for row in rows]
    if list(map(_exact, wanted)) != list(map(_exact, found)):
        raise _fault(name, where, "the positives are not those of the triplets", f"{found!r}, not {wanted!r}")


def _held(name: str, where: str, group: Sequence[Seen], rows: Sequence[Mapping[str, Any]]) -> int:
    """How many triplets of a query (query, positive, negative, positive's score, negative's score, rank) its rows hold."""
    each = [_documents(row) for row in rows]
    if any(row["negative_row"] is not None and after["positive_row"] is not None and after["negative_row"] is None
           for row, after in pairwise(rows) if "negative_row" in row):  # fmt: skip
        raise _fault(name, where, "a positive comes after a negative", "rows in another order")
    if all(len(positives) == 1 for positives, _ in each):
        claimed = [(p[0], n, p[1], *more) for (p,), negatives in each for n, *more in negatives]
        everything = [one[1:] for one in group]
        merged = "positive_rows" in rows[0]
        _in_order(name, where, claimed, list(dict.fromkeys(everything)) if merged else everything)
        kept = {one[:2] for one in claimed}
        return sum(one[:2] in kept for one in everything) if merged else len(claimed)
    positives, negatives = ([d for many in (one[i] for one in each) for d in many] for i in (0, 1))
    _in_order(name, where, positives, _firsts([(p, s) for _, p, _, s, _, _ in group]))
    _in_order(name, where, negatives, _firsts([(n, s, r) for _, _, n, _, s, r in group]))
    kept_p, kept_n = {p for p, *_ in positives}, {n for n, *_ in negatives}
    return sum(p in kept_p and n in kept_n for _, p, n, *_ in group)


def _documents(row: Mapping[str, Any]) -> tuple[list[Seen], list[Seen]]:
    """The positives (row, score) and the negatives (row, score, rank) that a row of `ids.parquet` names."""
    found = []
    for kind, more in (("positive", ()), ("negative", ("rank",))):
        names = (f"{kind}_row", f"{kind}_score", *more)
        if names[0] in row:
            found.append([] if row[names[0]] is None else [tuple(row[one] for one in names)])
        else:
            found.append(list(zip(*(row[f"{one}s"] for one in names), strict=True)))
    return found[0], found[1]


def _firsts(documents: Sequence[Seen]) -> list[Seen]:
    found: dict[int, Seen] = {}
    for document in documents:
        found.setdefault(document[0], document)
    return list(found.values())


def _in_order(name: str, where: str, claimed: Sequence[Seen], everything: Sequence[Seen]) -> None:
    """Raises ArtefactError unless `claimed` is `everything` with nothing but some left out."""
    left = iter(map(_exact, everything))
    for one in claimed:
        if _exact(one) not in left:  # goes on from where the one before was found
            raise _fault(name, where, "a row is of no triplet, comes twice, or is not in their order", repr(one))


def _exact(one: Seen) -> Seen:
    """NaN is not equal to itself."""
    return tuple("NaN" if isinstance(value, float) and np.isnan(value) else value for value in one)


def _fault(name: str, where: Path | str, what: str, got: str) -> ArtefactError:
    return ArtefactError(
        f"{name}: {what}", where=str(where), got=got, try_="hardrock export again; when it stays so, please report it"
    )
