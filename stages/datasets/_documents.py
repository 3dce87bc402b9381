"""Documents in files of rows or in a folder of texts, with the queries and qrels that may lie beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

from stages.datasets._beir_qrels import judgements
from stages.datasets._helpers import File, digest, lines
from stages.datasets._tables import columns, kind_of, rows
from stages.errors import ConfigError, InputError, listing, suggestion
from stages.records import Document, Fault, Judgement, Note, Query, wrong_string

TEXTS = (".md", ".txt")
_TABLES = ".jsonl, .csv, .tsv or .parquet, or one of them with .gz"
_NAMES = {
    "id": ("_id", "id", "doc_id", "docid", "document_id", "pid"),
    "title": ("title", "headline"),
    "text": ("text", "body", "content", "contents", "passage", "document", "abstract"),
    "group": (),
}
_QUERY_NAMES = {"id": ("_id", "id", "query_id", "qid"), "text": ("text", "query", "question")}
_HEADING = re.compile(r"#\s+(.*?)\s*#*\s*")


@dataclass(frozen=True)
class Documents:
    """What lies at a path, as rows of a data set. A column that is None is looked for under known names."""

    path: Path
    asked: Mapping[str, str | None]  # column by field: id, title, text, group
    queries_path: Path | None
    qrels: Mapping[str, Path]  # by split

    @property
    def column_names(self) -> Mapping[str, str]:
        return {} if self._plain else self.mapped

    def fingerprint(self) -> str:
        """A sha256 over the bytes of all files."""
        named = [File(f"{split}:{path.name}", path) for split, path in sorted(self.qrels.items())]
        return digest([*self.files, *self._query_files, *named])

    def locate(self, file: str) -> str:
        beside = [*self._query_files, *(File(path.name, path) for path in self.qrels.values())]
        return next((str(f.path) for f in (*self.files, *beside) if f.name == file), file)

    def documents(self) -> Iterator[Document | Fault | Note]:
        if self._plain:
            for file in self.files:
                yield _text_file(file)
            return
        mapped = self.mapped
        yield Note("columns taken: " + ", ".join(f"{field} = {column}" for field, column in mapped.items()))
        seen: set[str] = set()
        again = 0
        for file in self.files:
            _require(file, mapped)
            for item in rows(file, list(mapped.values())):
                made = item if isinstance(item, Fault) else _document(file, *item, mapped)
                if "id" not in mapped and isinstance(made, Document):
                    if made.id in seen:
                        again += 1
                        continue
                    seen.add(made.id)
                yield made
        if again:
            yield Note(f"{again:,} rows repeat a document to the letter and have no id of their own: read once")

    def queries(self) -> Iterator[Query | Fault | Note]:
        for file in self._query_files:
            mapped = _mapped(file, {"id": None, "text": None}, _QUERY_NAMES, ("id", "text"))
            for item in rows(file, list(mapped.values())):
                if isinstance(item, Fault):
                    yield item
                    continue
                line, row = item
                if lacks := [column for column in mapped.values() if column not in row]:
                    yield _lacking(file, line, lacks[0])
                else:
                    yield Query(file.name, line, row[mapped["id"]], row[mapped["text"]])

    def judgements(self) -> Iterator[Judgement | Fault | Note]:
        for split, path in self.qrels.items():
            yield from judgements(File(path.name, path), split)

    @cached_property
    def files(self) -> list[File]:
        """One file of rows, all files of rows in a folder, or all texts in it and below. Raises InputError."""
        place = self.path
        if place.is_dir():
            below = sorted(p for p in place.rglob("*") if p.suffix.lower() in TEXTS and not p.is_dir())
            texts = [File(p.relative_to(place).as_posix(), p) for p in below]
            texts = [file for file in texts if not any(part.startswith(".") for part in Path(file.name).parts)]
            tables = [p for p in sorted(place.iterdir()) if not p.is_dir() and kind_of(p.name) and p.name[0] != "."]
            found = texts or [File(p.name, p) for p in tables]
            if texts and tables:
                raise InputError(
                    "texts and files of rows in one folder", where=str(place),
                    got=f"{texts[0].name} and {tables[0].name}", try_="name the one file of rows, or a folder of texts alone",
                )  # fmt: skip
        else:
            found = [File(place.name, place)] if place.exists() and kind_of(place.name) else []
        if not found:
            raise InputError(
                "no documents that can be read" if place.exists() else "the corpus is not there",
                where=str(place),
                try_=f"a file that ends in {_TABLES}, a folder of these, or a folder of .txt and .md files",
            )
        return found

    @cached_property
    def mapped(self) -> dict[str, str]:
        """The column of each field that there is. Raises ConfigError when none is known as the text.

        What the first object of JSONL lacks, a later one may have: a title and a group are looked up in each.
        """
        file = self.files[0]
        if kind_of(file.name) != "jsonl":
            return _mapped(file, self.asked, _NAMES, ("text",))
        first = {field: None if field in ("title", "group") else column for field, column in self.asked.items()}
        found = {"title": _NAMES["title"][0]} | _mapped(file, first, _NAMES, ("text",))
        wished = {field: column for field, column in self.asked.items() if column}
        return {field: (found | wished)[field] for field in self.asked if field in found or field in wished}

    @property
    def _plain(self) -> bool:
        return self.files[0].path.suffix.lower() in TEXTS

    @cached_property
    def _query_files(self) -> list[File]:
        path = self.queries_path
        if path is None:
            return []
        if not path.is_file() or not kind_of(path.name):
            raise InputError("no queries that can be read", where=str(path), try_=f"a file that ends in {_TABLES}")
        return [File(path.name, path)]


def _mapped(
    file: File, asked: Mapping[str, str | None], names: Mapping[str, tuple[str, ...]], needed: tuple[str, ...]
) -> dict[str, str]:
    """The column of each field: the one asked for, else the first of the known names that is there."""
    known = columns(file)
    by_name = {name.lower(): name for name in reversed(known)}
    mapped: dict[str, str] = {}
    for field, wish in asked.items():
        if wish is not None and wish not in known:
            raise ConfigError(
                f"there is no column {wish!r}", where=str(file.path), got=listing(known), try_=suggestion(wish, known)
            )
        column = wish or next((by_name[n] for n in names[field] if n in by_name), None)
        if column is not None:
            mapped[field] = column
        elif field in needed:
            raise ConfigError(
                f"no column is known as the {field}", where=str(file.path), got=f"columns: {listing(known)}",
                try_=f"name it one of: {', '.join(names[field])}",
            )  # fmt: skip
    return mapped


def _require(file: File, mapped: Mapping[str, str]) -> None:
    known = columns(file)
    if lacks := [column for field, column in mapped.items() if column not in known and field in ("id", "text")]:
        got = f"columns: {listing(known)}"
        raise ConfigError(f"there is no column {lacks[0]!r}", where=str(file.path), got=got)


def _document(file: File, line: int, row: Mapping[str, Any], mapped: Mapping[str, str]) -> Document | Fault:
    """A row as a document. Without a column of ids its id is `d-` and 20 hex digits of the hash of title and text."""
    for field in ("id", "text"):
        if field in mapped and mapped[field] not in row:
            return _lacking(file, line, mapped[field])
    text, title = row[mapped["text"]], row.get(mapped.get("title", "")) or None
    group = row.get(mapped.get("group", "")) or None
    if "id" in mapped:
        return Document(file.name, line, row[mapped["id"]], text, title, group)
    if wrong := wrong_string(text, "a text") or (title is not None and wrong_string(title, "a title")) or None:
        return Fault(file.name, line, mapped["text"], None, *wrong)
    key = blake2b(f"{title or ''}\0{text}".encode(), digest_size=10).hexdigest()
    return Document(file.name, line, f"d-{key}", text, title, group)


def _lacking(file: File, line: int, column: str) -> Fault:
    return Fault(file.name, line, column, None, f"the key {column!r} is missing", f"name the key {column!r}")


def _text_file(file: File) -> Document | Fault:
    """A file as a document: its path in the folder is its id. The first heading of a Markdown file is its title."""
    decoded: list[str] = []
    number = 0
    for number, _, line in lines(file):
        try:
            decoded.append(line.decode())
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            reason = f"invalid UTF-8: 0x{byte:02x} at byte {error.start} of the line"
            return Fault(file.name, number, None, file.name, reason, "write the file as UTF-8")
    first = next((i for i, line in enumerate(decoded) if line.strip()), 0)
    heading = _HEADING.fullmatch(decoded[first]) if decoded and file.path.suffix.lower() == ".md" else None
    title = heading[1] if heading and heading[1] else None
    text = "\n".join(decoded[first + 1 :] if title else decoded).strip()
    return Document(file.name, 1, file.name, text, title)
