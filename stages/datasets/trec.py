"""A TREC collection in a folder: documents, topics and qrels, told by their names or named.

    documents   doc*, corpus* or collection*: .jsonl with an id (`_id`, `id`, `docid`, `doc_id`, `docno`), `title`? and `text`,
                `contents` or `body`; or .tsv of id and text
    topics      *topic* or *quer*: <top> … </top> with or without closing tags, <topic number="…">, or id, tab (or colon), text
    qrels       *qrel*: `query-id 0 doc-id relevance` or three fields, any white space

A negative relevance, such as spam, is kept: judged, not relevant. Without a split in the name of the qrels, it is a hash of the
query's id. A run is no part of a data set; `[[mine.retrievers]] name = "run"` takes one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from stages.datasets import _qrels
from stages.datasets._guess import Guess
from stages.datasets._helpers import File, digest
from stages.datasets._tables import files_at
from stages.datasets._topics import topics
from stages.datasets._trec_documents import documents
from stages.errors import HardrockError, InputError
from stages.records import Document, Fault, Judgement, Note, Query
from stages.registry import Member
from stages.settings import speed

_SUFFIXES = (".jsonl", ".tsv", ".txt", ".xml", ".topics", ".qrels", ".qrel")
_WORDS = {"qrels": ("qrel",), "topics": ("topic", "quer"), "documents": ("doc", "corpus", "collection")}


class Trec(Member):
    """Documents, topics and qrels of a folder."""

    path: str = speed(..., "The folder. Its content is part of a result's identity, its place is not.")
    documents_in: tuple[str, ...] = Field((), description="Files of documents in it; empty: told by their names.")
    topics: tuple[str, ...] = Field((), description="Files of topics in it; empty: told by their names.")
    qrels: tuple[str, ...] = Field((), description="Files of qrels in it; empty: told by their names, one a split.")
    topic_field: Literal["title", "description", "narrative"] = Field(
        "title",
        description="What of a topic is the query's text; `query` and `question` of XML are title and description.",
    )
    dev: float = Field(0.1, ge=0, le=0.5, description="Share of queries in dev where no name gives the split.")
    test: float = Field(0.2, ge=0, le=0.5, description="Share of queries in test where no name gives the split.")

    column_names: ClassVar[Mapping[str, str]] = {}

    @cached_property
    def _files(self) -> dict[str, list[File]]:
        every = files_at(self.path, _SUFFIXES)
        asked = {"documents": self.documents_in, "topics": self.topics, "qrels": self.qrels}
        found: dict[str, list[File]] = {role: [] for role in _WORDS}
        for file in every:
            name = Path(file.name).name.lower()
            if role := next((role for role, words in _WORDS.items() if any(word in name for word in words)), None):
                found[role].append(file)
        for role, names in asked.items():
            if names:
                found[role] = [File(name, Path(self.path, name)) for name in names]
            if not found[role]:
                got = ", ".join(file.name for file in every)
                key = "documents_in" if role == "documents" else role
                raise InputError(
                    f"no file of {role} is told by its name", where=self.path, got=got, try_=f'{key} = ["FILE"]'
                )
        return found

    @cached_property
    def _qrels(self) -> dict[File, str | None]:
        return _qrels.by_split(self._files["qrels"], (), self.path)

    def fingerprint(self) -> str:
        """A sha256 over the bytes of the files."""
        return digest([*self._files["documents"], *self._files["topics"], *self._qrels])

    def locate(self, file: str) -> str:
        return str(Path(self.path, file))

    def documents(self) -> Iterator[Document | Fault]:
        for file in self._files["documents"]:
            yield from documents(file)

    def queries(self) -> Iterator[Query | Fault]:
        for file in self._files["topics"]:
            yield from topics(file, self.topic_field)

    def judgements(self) -> Iterator[Judgement | Fault | Note]:
        for file, split in self._qrels.items():
            yield from _qrels.judgements(file, split, self.dev, self.test)


def recognise(place: str) -> Guess | None:
    """A folder with files of documents, topics and qrels."""
    if not Path(place).is_dir():
        return None
    try:
        found = Trec(path=place)._files
    except HardrockError:
        return None
    why = tuple(f"{role}: {', '.join(file.name for file in files[:5])}" for role, files in found.items())
    runs = [p.name for p in sorted(Path(place).iterdir()) if p.suffix == ".run" or p.name.startswith("run.")]
    unsure = (f"{', '.join(runs)}: a run is given to the stage mine, as a retriever of the name run",) if runs else ()
    return Guess(60 if "topic" in why[1].partition(":")[2] else 35, {"path": place}, why, unsure)
