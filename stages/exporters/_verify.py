"""Reads an export back with the package that it is for, and compares every row with the triplets.

A target's module has `LOADER`, the package that reads it, and its member has `load(folder)`, which gives each row of texts
as that package sees it. What a row should hold follows from `ids.parquet`; and the triplets of `ids.parquet` are held
against those that were exported. A target that is not on a package index is read with `datasets`, as its own loader does.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from stages.errors import ArtefactError
from stages.exporters._common import Row, Texts
from stages.spec import Source

BATCH = 2_048


def check(target: Any, triplets: Source, texts: Texts, folder: Path) -> str:
    """What was found, as a phrase. Raises ArtefactError for the first row that differs."""
    module = sys.modules[type(target).__module__]
    package, trainer = module.LOADER, next(iter(module.CHECKED))
    if importlib.util.find_spec(package) is None:
        return f"not checked: {trainer} is not installed"
    rows = 0
    for rows, (found, wanted) in enumerate(zip_longest(target.load(folder), _wanted(target, texts, folder)), 1):
        if found != wanted:
            raise ArtefactError(
                f"{target.name}: what {package} reads is not what was mined",
                where=f"{folder}, row {rows - 1}",
                got=f"{found!r}, not {wanted!r}",
                try_="hardrock export again; when it stays so, please report it",
            )
    lost = 0 if hasattr(target, "needs") else _lost(triplets, folder)
    if lost:
        raise ArtefactError(f"{target.name}: {lost} rows of ids.parquet are no triplets", where=str(folder))
    version = _version(package)
    by = (
        f"{rows:,} rows equal, read by {package} {version}"
        if version
        else f"{rows:,} rows equal, read by Python's {package}"
    )
    return by if _version(trainer) else f"{by}; not checked further: {trainer} is not installed"


def _version(package: str) -> str:
    """The version of an installed package; empty where it is none."""
    for name in (package, *importlib.metadata.packages_distributions().get(package, ())):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def _wanted(target: Any, texts: Texts, folder: Path) -> Iterator[Row]:
    """The rows that `ids.parquet` calls for."""
    if hasattr(target, "wanted"):
        yield from target.wanted(texts, folder)
        return
    show = getattr(target, "shown", str)
    for batch in pq.ParquetFile(folder / "ids.parquet").iter_batches(BATCH):
        columns = batch.to_pydict()
        queries = texts.anchors(np.array(columns["query_row"]), getattr(target, "prompts_in_text", False)).to_pylist()
        for i, query in enumerate(queries):
            yield Row(
                show(query), *(tuple(map(show, _texts(texts, columns, kind, i))) for kind in ("positive", "negative"))
            )


def _texts(texts: Texts, columns: dict[str, list[Any]], kind: str, i: int) -> list[str]:
    rows = [columns[f"{kind}_row"][i]] if f"{kind}_row" in columns else columns.get(f"{kind}_rows", [[]] * (i + 1))[i]
    found: list[str] = texts.documents(np.array(rows, dtype=np.int64)).to_pylist()
    return found


def _lost(triplets: Source, folder: Path) -> int:
    """How many (query, negative) and (query, positive) of `ids.parquet` are in no triplet."""
    known: set[tuple[str, int, int]] = set()
    for batch in triplets.batches(("query_row", "positive_row", "negative_row")):
        query, positive, negative = (batch.column(i).to_pylist() for i in range(3))
        known |= {("positive", q, p) for q, p in zip(query, positive, strict=True)}
        known |= {("negative", q, n) for q, n in zip(query, negative, strict=True)}
    lost = 0
    for batch in pq.ParquetFile(folder / "ids.parquet").iter_batches(BATCH):
        for row in batch.to_pylist():
            for kind in ("positive", "negative"):
                rows = row.get(f"{kind}_rows") or [row.get(f"{kind}_row")]
                lost += sum(one is not None and (kind, row["query_row"], one) not in known for one in rows)
    return lost
