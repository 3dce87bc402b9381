"""Documents of a TREC collection: rows with one of several names of id and text, or lines of id and text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stages.datasets._helpers import File, missing_key
from stages.datasets._tables import kind_of, rows, tab_lines
from stages.records import Document, Fault

_IDS = ("_id", "id", "docid", "doc_id", "docno")
_TEXTS = ("text", "contents", "body")


def documents(file: File) -> Iterator[Document | Fault]:
    """The documents of a file: JSONL, else lines of id, tab and text."""
    if kind_of(file.name) == "jsonl":
        yield from _of_rows(file)
        return
    for item in tab_lines(file, (2,), "id and text"):
        yield item if isinstance(item, Fault) else Document(file.name, item[0], *item[1])


def _of_rows(file: File) -> Iterator[Document | Fault]:
    for item in rows(file, ()):
        if isinstance(item, Fault):
            yield item
            continue
        line, row = item
        key, text = _first(row, _IDS), _first(row, _TEXTS)
        if lacks := next((names[0] for name, names in ((key, _IDS), (text, _TEXTS)) if name is None), None):
            yield missing_key(file, line, dict(row), lacks, key or "")
        else:
            yield Document(file.name, line, row[key], row[text], row.get("title"))


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((name for name in names if name in row), None)
