"""A folder in BEIR layout.

    corpus.jsonl         {"_id": "d1", "title": "…", "text": "…"}        title may be missing or null
    queries.jsonl        {"_id": "q1", "text": "…"}
    qrels/train.tsv      query-id <TAB> corpus-id <TAB> score            header line optional; also dev.tsv, test.tsv

Each file may be compressed with gzip, with `.gz` after its name. A field of qrels in double quotes is read as BEIR's own loader
reads it. Of a query's or a document's other keys, such as `metadata`, nothing is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from stages.datasets._beir_folder import BeirFolder
from stages.datasets._beir_qrels import judgements
from stages.datasets._guess import Guess
from stages.datasets._helpers import digest, missing_key, objects
from stages.errors import HardrockError
from stages.records import Document, Fault, Judgement, Note, Query
from stages.registry import Member
from stages.settings import speed


class Beir(Member):
    """Corpus, queries and qrels of a folder in BEIR layout."""

    path: str = speed(..., "The folder. Its content is part of a result's identity, its place is not.")
    splits: tuple[str, ...] = Field(
        (),
        description="Names of the files in qrels/ to read, without `.tsv`; empty: every one that names train, dev or test. "
        "Queries without a judgement in these are left out and counted.",
    )
    prefix: str = Field(
        "",
        pattern=r"^[^/]*$",
        description="Takes `PREFIX-queries.jsonl` and `PREFIX-qrels/`, as of queries that a model made, instead of those without.",
    )

    column_names: ClassVar[Mapping[str, str]] = {
        "id": "_id",
        "query_id": "query-id",
        "doc_id": "corpus-id",
        "relevance": "score",
    }

    def fingerprint(self) -> str:
        """A sha256 over the bytes of the files that are read."""
        return digest([self._layout.corpus, self._layout.queries, *self._layout.qrels.values()])

    def locate(self, file: str) -> str:
        return str(Path(self.path, file))

    def documents(self) -> Iterator[Document | Fault]:
        file = self._layout.corpus
        for item in objects(file):
            if isinstance(item, Fault):
                yield item
                continue
            line, row = item
            try:
                yield Document(file.name, line, row["_id"], row["text"], row.get("title"))
            except KeyError as error:
                yield missing_key(file, line, row, error.args[0], "_id")

    def queries(self) -> Iterator[Query | Fault]:
        file = self._layout.queries
        for item in objects(file):
            if isinstance(item, Fault):
                yield item
                continue
            line, row = item
            try:
                yield Query(file.name, line, row["_id"], row["text"])
            except KeyError as error:
                yield missing_key(file, line, row, error.args[0], "_id")

    def judgements(self) -> Iterator[Judgement | Fault | Note]:
        for name in self._layout.ignored:
            yield Note(f"{name} is not read: its name is no split; splits = [...] with its name says how to take it")
        for split, file in self._layout.qrels.items():
            yield from judgements(file, split)

    @cached_property
    def _layout(self) -> BeirFolder:
        return BeirFolder(self.path, self.splits, self.prefix)


def recognise(place: str) -> Guess | None:
    """A folder with corpus.jsonl, queries.jsonl and qrels."""
    try:
        member = Beir(path=place)
        files = [member._layout.corpus, member._layout.queries, *member._layout.qrels.values()]
    except HardrockError:
        return None
    return Guess(80, {"path": place}, (f"files {', '.join(file.name for file in files)}",))
