"""A retrieval data set as MTEB keeps it on the hub: configurations of one repository, by its card or by folders of these names.

    corpus      _id or id, title?, text             queries (or query)   _id or id, text, instruction?
    default     query-id, corpus-id, score          or qrels; the splits are those of the judgements

With `subset` each has that name in front: `de-corpus`. `instruction` of a query, or of the configuration of that name, becomes the
query's own prompt. `top_ranked` is not read. A score of 1.0 is 1; another fraction is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from stages.datasets import _repository as repository
from stages.datasets._guess import Guess
from stages.datasets._helpers import digest, missing_key
from stages.datasets._mteb_folder import SCORE, MtebFolder, all_rows, judgement, key_of
from stages.errors import HardrockError
from stages.records import Document, Fault, Judgement, Note, Query
from stages.registry import Member
from stages.settings import speed


class Mteb(Member):
    """Corpus, queries and qrels of a repository: a folder, or an id of the hub."""

    path: str | None = speed(None, "The folder. Its content is part of a result's identity, its place is not.")
    repo: str | None = Field(None, description="An id of the hub, OWNER/NAME, instead of a path.")
    revision: str | None = Field(None, description="Commit, tag or branch on the hub; a commit never changes.")
    subset: str | None = Field(None, description="Name in front of the configurations, such as a language; null: none.")
    splits: tuple[str, ...] = Field(
        (), description="Splits of qrels to read; empty: every one that is train, dev or test."
    )

    column_names: ClassVar[Mapping[str, str]] = {
        "id": "_id",
        "query_id": "query-id",
        "doc_id": "corpus-id",
        "relevance": SCORE,
    }

    @cached_property
    def _layout(self) -> MtebFolder:
        return MtebFolder(repository.folder_of(self.path, self.repo, self.revision), self.subset, self.splits)

    def fingerprint(self) -> str:
        """A sha256 over the bytes of the files that are read."""
        return digest(self._layout.files)

    def locate(self, file: str) -> str:
        return str(self._layout.folder / file)

    def documents(self) -> Iterator[Document | Fault]:
        for file, item in all_rows(self._layout.role("corpus"), ("_id", "id", "title", "text")):
            if isinstance(item, Fault):
                yield item
                continue
            line, row = item
            try:
                yield Document(file.name, line, key_of(row), row["text"], row.get("title"))
            except KeyError as error:
                yield missing_key(file, line, dict(row), error.args[0], "_id")

    def queries(self) -> Iterator[Query | Fault | Note]:
        told = all_rows(self._layout.role("instruction", optional=True), ("query-id", "instruction"))
        rows = (item[1] for _, item in told if not isinstance(item, Fault))
        prompts = {key: row.get("instruction") for row in rows if isinstance(key := row.get("query-id"), str)}
        if any("top_ranked" in name for name in self._layout.configurations):
            yield Note("top_ranked is not read: candidates are mined; a run can be given to the stage mine")
        for file, item in all_rows(self._layout.role("queries"), ("_id", "id", "text", "instruction")):
            if isinstance(item, Fault):
                yield item
                continue
            line, row = item
            try:
                key = key_of(row)
                prompt = prompts.get(key) if isinstance(key, str) else None
                yield Query(file.name, line, key, row["text"], row.get("instruction") or prompt)
            except KeyError as error:
                yield missing_key(file, line, dict(row), error.args[0], "_id")

    def judgements(self) -> Iterator[Judgement | Fault | Note]:
        for split, files in self._layout.qrels.items():
            for file, item in all_rows({split: files}, ("query-id", "corpus-id", SCORE), (SCORE,)):
                yield item if isinstance(item, Fault) else judgement(file, item[0], item[1], split)


def recognise(place: str) -> Guess | None:
    """A folder with corpus, queries and qrels as configurations; an id of the hub under mteb/."""
    if not Path(place).exists():
        return (
            Guess(50, {"repo": place}, ("it reads as an id of the hub, under mteb/",), ("its configurations",))
            if place.startswith("mteb/")
            else None
        )
    if not Path(place).is_dir():
        return None
    try:
        member = Mteb(path=place)
        files, splits = member._layout.files, ", ".join(member._layout.qrels)
    except HardrockError:
        return None
    beir = (Path(place) / "qrels" / "test.tsv").is_file() or (Path(place) / "qrels" / "train.tsv").is_file()
    return Guess(
        75 if beir else 85,
        {"path": place},
        (f"configurations {', '.join(member._layout.configurations)}; {len(files)} files; qrels of {splits}",),
    )
