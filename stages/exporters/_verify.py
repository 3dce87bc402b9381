"""Reads an export back with the package that it is for, and compares every row, and proves that no triplet is missing.

A target's module has `LOADER`, the package that reads it, and its member has `load(folder)`, which gives each row of texts
as that package sees it. What a row should hold follows from `ids.parquet`, and that is held against the triplets (see
`_complete.py`). A target that has the whole corpus beside its rows has `beside(folder)`, which is compared as well. One that
is not on a package index is read with `datasets`, as its own loader does. Where a format keeps titles apart, its trainer joins
them in its own way: `titles_apart` names the functions that give such documents, the title in front and a blank.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from functools import cache
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from stages.errors import ArtefactError
from stages.exporters._common import Row, Texts
from stages.exporters._complete import complete, intact
from stages.spec import Source
from stages.text import TITLE_FIRST

BATCH = 2_048


def check(target: Any, triplets: Source, texts: Texts, folder: Path) -> str:
    """What was found, as a phrase. Raises ArtefactError for the first row that differs, or for triplets that are missing."""
    module = sys.modules[type(target).__module__]
    package, trainer = module.LOADER, next(iter(module.CHECKED))
    described = intact(target.name, folder)
    if hasattr(target, "complete"):
        found = target.complete(texts, folder)
    else:
        held = complete(target.name, triplets, texts, folder, described["left_out"])
        found = f"{held:,} of {triplets.rows:,} triplets, the others counted"
    if importlib.util.find_spec(package) is None:
        return f"{found}; rows not checked: {trainer} is not installed"
    plain, apart = replace(texts, template=TITLE_FIRST), getattr(target, "titles_apart", ())
    joined = {name: plain if name in apart else texts for name in ("load", "beside")}
    with redirect_stdout(sys.stderr):  # some packages print what they do, and `--json` has standard output for itself
        wanted = _wanted(target, joined["load"], folder)
        rows = _same(target, package, folder, _read(target.load, package, folder), wanted)
        if hasattr(target, "beside"):
            others = _beside(target, joined["beside"], target.whole)
            _same(target, package, folder, _read(target.beside, package, folder), others)
    version = _version(package)
    by = f"{rows:,} rows equal, read by " + (f"{package} {version}" if version else f"Python's {package}")
    whole = f"{by}; {found}"
    return whole if _version(trainer) else f"{whole}; not checked further: {trainer} is not installed"


def _same(target: Any, package: str, folder: Path, found: Iterator[Any], wanted: Iterator[Any]) -> int:
    """How many rows there are. Raises ArtefactError for the first that differs."""
    rows = 0
    for rows, (one, other) in enumerate(zip_longest(found, wanted), 1):
        if one != other:
            raise ArtefactError(
                f"{target.name}: what {package} reads is not what was mined",
                where=f"{folder}, row {rows - 1}",
                got=f"{one!r}, not {other!r}",
                try_="hardrock export again; when it stays so, please report it",
            )
    return rows


def _read(load: Callable[[Path], Iterator[Any]], package: str, folder: Path) -> Iterator[Any]:
    """What the package reads. Raises ArtefactError where it fails, in whatever way."""
    try:
        yield from load(folder)
    except Exception as error:
        raise ArtefactError(
            f"{package} cannot read this export",
            where=str(folder),
            got=f"{type(error).__name__}: {error}",
            try_="hardrock export again; when it stays so, please report it",
        ) from error


@cache  # it looks at every package that is installed
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
        found = batch.to_pylist()
        asked = np.array([row["query_row"] for row in found], dtype=np.int64)
        queries = texts.anchors(asked, getattr(target, "prompts_in_text", False)).to_pylist()
        prompts = (
            map(target.instruction, texts.own_prompts(asked)) if hasattr(target, "instruction") else ("" for _ in found)
        )
        documents = _documents(texts, found)
        for row, query, prompt in zip(found, queries, prompts, strict=True):
            positives, negatives = (tuple(show(documents[i]) for i in _rows(row, k)) for k in ("positive", "negative"))
            labels = target.labels(row) if hasattr(target, "labels") else ()
            wanted = Row(show(query), positives, negatives, labels, prompt)
            yield target.placed(wanted) if hasattr(target, "placed") else wanted


def _rows(row: Mapping[str, Any], kind: str) -> list[int]:
    if f"{kind}_row" in row:
        return [] if row[f"{kind}_row"] is None else [row[f"{kind}_row"]]
    return row.get(f"{kind}_rows") or []


def _documents(texts: Texts, found: list[dict[str, Any]]) -> dict[int, str]:
    """The texts of all documents that these rows name."""
    named = np.unique([i for row in found for kind in ("positive", "negative") for i in _rows(row, kind)]).astype(
        np.int64
    )
    return dict(zip(named.tolist(), texts.documents(named).to_pylist(), strict=True))


def _beside(target: Any, texts: Texts, kinds: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """Kind, id and text of every document, then of every query, as far as a target has them."""
    show = getattr(target, "shown", str)
    documents = (
        (("document", texts.doc_ids, texts.documents(rows), rows)) for rows in texts.corpus() if "document" in kinds
    )
    queries = (
        ("query", texts.query_ids, texts.anchors(rows, False), rows) for rows in texts.asked() if "query" in kinds
    )
    for kind, ids, found, rows in chain(documents, queries):
        names = ids.take(rows).to_pylist()
        yield from ((kind, name, show(text)) for name, text in zip(names, found.to_pylist(), strict=True))
