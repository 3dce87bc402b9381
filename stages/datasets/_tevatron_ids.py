"""Tevatron's rows of document ids, and the corpus that lies beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from stages.datasets._examples import Columns
from stages.datasets._helpers import File, missing_key
from stages.datasets._tables import rows
from stages.records import Document, Fault, Judgement, Note, Query

COLUMNS = Columns("query_text", "positive_document_ids", ("negative_document_ids",), "query_id")


def is_corpus(name: str) -> bool:
    """Whether a file is of the corpus, by its path."""
    return any(part.lower().startswith(("corpus", "collection")) for part in PurePath(name).parts)


def documents(files: Sequence[File]) -> Iterator[Document | Fault | Note]:
    """The documents of the corpus."""
    wanted = ("docid", "text", "document_text", "title")
    for file in files:
        told = False
        for item in rows(file, wanted):
            if isinstance(item, Fault):
                yield item
                continue
            line, row = item
            key = "text" if "text" in row or "document_text" not in row else "document_text"
            if key != "text" and not told:
                told = True
                yield Note(f"{file.name} has document_text, which Tevatron's loader does not read: taken as text")
            if missing := next((name for name in ("docid", key) if name not in row), None):
                yield missing_key(file, line, dict(row), missing, "docid")
            else:
                yield Document(file.name, line, row["docid"], row[key], row.get("title"))


def queries(files: Sequence[File]) -> Iterator[Query | Fault]:
    """The query of each row."""
    for file, line, row in _rows(files):
        if isinstance(row, Fault):
            yield row
        elif missing := next((n for n in ("query_id", "query_text") if n not in row), None):
            yield missing_key(file, line, dict(row), missing, "query_id")
        else:
            yield Query(file.name, line, row["query_id"], row["query_text"])


def judgements(files: Sequence[File], split_of: Callable[[str, str], str]) -> Iterator[Judgement | Fault | Note]:
    """The positives and negatives of each row; the split follows from the file's name and the query's text."""
    both = 0
    for file, line, row in _rows(files):
        if isinstance(row, Fault) or not {"query_id", "query_text"} <= row.keys():
            continue  # told among the queries
        name, text = row["query_id"], row["query_text"]
        split = split_of(file.name, str(text))
        lists = [row.get(column) or [] for column in (COLUMNS.positive, *COLUMNS.negatives)]
        if bad := next(
            (n for n, ids in zip(("positive", "negative"), lists, strict=True) if not isinstance(ids, list)), None
        ):
            yield Fault(file.name, line, f"{bad}_document_ids", str(name), "no list of ids", 'write ["…", "…"]')
            continue
        positives, negatives = lists
        yield from (Judgement(file.name, line, name, key, 1, split) for key in positives)
        both += len(repeated := [key for key in negatives if key in positives])
        yield from (Judgement(file.name, line, name, key, 0, split) for key in negatives if key not in repeated)
    if both:
        yield Note(f"{both} given negatives are positives of the same query too: they are taken as positives")


def _rows(files: Sequence[File]) -> Iterator[tuple[File, int, Mapping[str, Any] | Fault]]:
    for file in files:
        for item in rows(file, COLUMNS.read):
            yield (file, 0, item) if isinstance(item, Fault) else (file, *item)
