"""MS MARCO's files by their names, lines of ids and texts in them, and the mending of their encoding."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from stages.datasets import _qrels
from stages.datasets._examples import split_in
from stages.datasets._helpers import File
from stages.datasets._tables import files_at, tab_lines
from stages.errors import InputError
from stages.records import Document, Fault, Judgement, Note, Query, split_of

_NAMES = (
    ("ids", r"qidpidtriples"),
    ("top", r"top1000|top100\b"),
    ("qrels", r"qrels"),
    ("queries", r"quer(y|ies)"),
    ("triples", r"triples"),
    ("docs", r"msmarco-docs|^docs"),
    ("collection", r"collection|^corpus"),
)
_MOJIBAKE = re.compile("[\x80-\xff]{2,}")


class MsmarcoFiles:
    """The files of a folder by what their names say: ids, top, qrels, queries, triples, docs, collection."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.by_kind: dict[str, list[File]] = {kind: [] for kind, _ in _NAMES}
        for file in files_at(path, (".tsv", ".txt")):
            if kind := next((kind for kind, name in _NAMES if re.search(name, Path(file.name).name.lower())), None):
                self.by_kind[kind].append(file)

    def need(self, kind: str, what: str) -> list[File]:
        """The files of a kind, at least one. Raises InputError."""
        if not self.by_kind[kind]:
            got = ", ".join(file.name for files in self.by_kind.values() for file in files) or "none of its files"
            raise InputError(
                f"the data set has no {what}", where=self._path, got=got, try_="add it under its usual name"
            )
        return self.by_kind[kind]


def documents(file: File, width: int, text: Callable[[str], str]) -> Iterator[Document | Fault]:
    """Passages of two fields, pid and text, or documents of four, docid, url, title and body."""
    for item in tab_lines(file, (width,), "pid and text" if width == 2 else "docid, url, title and body"):
        if isinstance(item, Fault):
            yield item
        else:
            title = text(item[1][2]) if width == 4 else None
            yield Document(file.name, item[0], item[1][0], text(item[1][-1]), title)


def queries(files: list[File], text: Callable[[str], str]) -> Iterator[Query | Fault]:
    """The queries of all files; one that comes again with the same text is the same."""
    seen: dict[str, str] = {}
    several = len(files) > 1
    for file in files:
        for item in tab_lines(file, (2,), "qid and text"):
            if isinstance(item, Fault):
                yield item
                continue
            key, words = item[1]
            known = seen.get(key) if several else None
            if known is None:
                if several:
                    seen[key] = words
                yield Query(file.name, item[0], key, text(words))
            elif known != words:
                reason = "the id stands for another text in an earlier file of queries"
                yield Fault(file.name, item[0], "qid", key, reason, "give each text its own id")


def judgements(
    qrels: Mapping[File, str | None], ids: Sequence[File], dev: float, test: float
) -> Iterator[Judgement | Fault | Note]:
    """Those of the qrels, then those of qidpidtriples, of which the positives are held in memory."""
    relevant: set[tuple[str, str]] = set()
    splits: dict[str, str] = {}
    for file, split in qrels.items():
        for item in _qrels.judgements(file, split, dev, test):
            if ids and isinstance(item, Judgement):
                splits[item.query_id] = item.split
                if item.relevance > 0:
                    relevant.add((item.query_id, item.doc_id))
            yield item
    yield from _triples(ids, relevant, splits, lambda name, key: split_in(name) or split_of(key, dev, test))


def _triples(
    files: Sequence[File], relevant: set[tuple[str, str]], splits: dict[str, str], split: Callable[[str, str], str]
) -> Iterator[Judgement | Fault]:
    """Positives, then the negatives that are none of them. Both are added to what is known of each query."""
    for sign in (1, 0):
        for file in files:
            for item in tab_lines(file, (3,), "qid, pid of the positive and pid of the negative"):
                if isinstance(item, Fault):
                    yield from [item] if sign else []
                    continue
                query_id, positive, negative = item[1]
                its = splits.setdefault(query_id, split(file.name, query_id))
                key = (query_id, positive if sign else negative)
                if sign:
                    relevant.add(key)
                if sign or key not in relevant:
                    yield Judgement(file.name, item[0], *key, sign, its)


def mended(text: str) -> str:
    """UTF-8 that was read as Latin-1 and written as UTF-8 again, as it was."""
    return _MOJIBAKE.sub(_mended, text)


def _mended(found: re.Match[str]) -> str:
    try:
        return found[0].encode("latin-1").decode()
    except UnicodeDecodeError:
        return found[0]
