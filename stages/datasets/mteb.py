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
from typing import Any, ClassVar

from pydantic import Field

from stages.datasets import _repository as repository
from stages.datasets._examples import split_in
from stages.datasets._guess import Guess
from stages.datasets._helpers import File, digest, missing_key
from stages.datasets._tables import ALL_FORMATS, files_at, kind_of, rows
from stages.errors import ConfigError, HardrockError, InputError
from stages.records import SPLIT_NAMES, Document, Fault, Judgement, Note, Query, shown
from stages.registry import Member
from stages.settings import speed

_ROLES = {
    "corpus": ("corpus",),
    "queries": ("queries", "query"),
    "qrels": ("default", "qrels", "data"),
    "instruction": ("instruction",),
}
_SCORE = "score"


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
        "relevance": _SCORE,
    }

    @cached_property
    def _folder(self) -> Path:
        return repository.folder_of(self.path, self.repo, self.revision)

    @cached_property
    def _configurations(self) -> dict[str, repository.Splits]:
        found = repository.configurations(self._folder)
        if len(found) > 1:
            return found
        names = {f"{self.subset}-{n}" if self.subset else n for role in _ROLES.values() for n in role}
        inner = {p.name.split(".")[0]: p for p in sorted(self._folder.iterdir()) if p.name.split(".")[0] in names}
        return {
            name: _folder_splits(name, place)
            for name, place in inner.items()
            if place.is_dir() or kind_of(place.name, ALL_FORMATS)
        }

    def _role(self, role: str, *, optional: bool = False) -> repository.Splits:
        names = [f"{self.subset}-{name}" if self.subset else name for name in _ROLES[role]]
        if name := next((n for n in names if n in self._configurations), None):
            return self._configurations[name]
        if optional:
            return {}
        raise InputError(f"the data set has no configuration {' or '.join(names)}", where=str(self._folder),
                         got=", ".join(self._configurations) or "none",
                         try_='subset = "…" where a name stands in front')  # fmt: skip

    @cached_property
    def _qrels(self) -> dict[str, list[File]]:
        """Files by split."""
        found = self._role("qrels")
        if lacks := [name for name in self.splits if name not in found]:
            raise ConfigError(f"splits: there is no {lacks[0]!r}", where=str(self._folder), got=", ".join(found))
        chosen: dict[str, list[File]] = {}
        for name in self.splits or found:
            if split := SPLIT_NAMES.get(name.lower()):
                chosen.setdefault(split, []).extend(found[name])
        if not chosen:
            raise InputError("no split of qrels is train, dev or test", where=str(self._folder), got=", ".join(found),
                             try_="rename the split to what it is for")  # fmt: skip
        return chosen

    @cached_property
    def _files(self) -> list[File]:
        roles = [self._role("corpus"), self._role("queries"), self._qrels, self._role("instruction", optional=True)]
        return list({file.name: file for splits in roles for files in splits.values() for file in files}.values())

    def fingerprint(self) -> str:
        """A sha256 over the bytes of the files that are read."""
        return digest(self._files)

    def locate(self, file: str) -> str:
        return str(self._folder / file)

    def documents(self) -> Iterator[Document | Fault]:
        for file, item in _all(self._role("corpus"), ("_id", "id", "title", "text")):
            if isinstance(item, Fault):
                yield item
                continue
            line, row = item
            try:
                yield Document(file.name, line, _key(row), row["text"], row.get("title"))
            except KeyError as error:
                yield missing_key(file, line, dict(row), error.args[0], "_id")

    def queries(self) -> Iterator[Query | Fault | Note]:
        told = _all(self._role("instruction", optional=True), ("query-id", "instruction"))
        rows = (item[1] for _, item in told if not isinstance(item, Fault))
        prompts = {key: row.get("instruction") for row in rows if isinstance(key := row.get("query-id"), str)}
        if any("top_ranked" in name for name in self._configurations):
            yield Note("top_ranked is not read: candidates are mined; a run can be given to the stage mine")
        for file, item in _all(self._role("queries"), ("_id", "id", "text", "instruction")):
            if isinstance(item, Fault):
                yield item
                continue
            line, row = item
            try:
                key = _key(row)
                prompt = prompts.get(key) if isinstance(key, str) else None
                yield Query(file.name, line, key, row["text"], row.get("instruction") or prompt)
            except KeyError as error:
                yield missing_key(file, line, dict(row), error.args[0], "_id")

    def judgements(self) -> Iterator[Judgement | Fault | Note]:
        for split, files in self._qrels.items():
            for file, item in _all({split: files}, ("query-id", "corpus-id", _SCORE), (_SCORE,)):
                if isinstance(item, Fault):
                    yield item
                    continue
                line, row = item
                try:
                    query_id, doc_id, score = row["query-id"], row["corpus-id"], _whole(row[_SCORE])
                except KeyError as error:
                    yield missing_key(file, line, dict(row), error.args[0], "query-id")
                    continue
                except ValueError:
                    reason = f"the score {shown(row[_SCORE])} is not a whole number"
                    name = query_id if isinstance(query_id := row["query-id"], str) else None
                    yield Fault(
                        file.name, line, _SCORE, name, reason, "write it as a whole number; above 0 is relevant"
                    )
                    continue
                yield Judgement(file.name, line, query_id, doc_id, score, split)


def _folder_splits(name: str, place: Path) -> repository.Splits:
    """The files of a configuration that no card describes, under names that begin with the configuration's."""
    if place.is_file():
        return {"train": [File(place.name, place)]}
    files = [File(f"{name}/{file.name}", file.path) for file in files_at(str(place), ALL_FORMATS)]
    found: repository.Splits = {}
    for file in files:
        found.setdefault(split_in(file.name) or "train", []).append(file)
    return found


def _all(splits: repository.Splits, wanted: tuple[str, ...], typed: tuple[str, ...] = ()) -> Iterator[tuple[File, Any]]:
    for files in splits.values():
        for file in files:
            yield from ((file, item) for item in rows(file, wanted, typed))


def _key(row: Mapping[str, Any]) -> Any:
    return row["_id"] if "_id" in row else row["id"] if "id" in row else row["_id"]


def _whole(score: Any) -> Any:
    """A score as a whole number where it is one: 1.0, and "1" of a TSV. Raises ValueError."""
    if isinstance(score, str):
        return int(score)
    if isinstance(score, float):
        if not score.is_integer():
            raise ValueError
        return int(score)
    return score


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
        files, splits = member._files, ", ".join(member._qrels)
    except HardrockError:
        return None
    beir = (Path(place) / "qrels" / "test.tsv").is_file() or (Path(place) / "qrels" / "train.tsv").is_file()
    return Guess(
        75 if beir else 85,
        {"path": place},
        (f"configurations {', '.join(member._configurations)}; {len(files)} files; qrels of {splits}",),
    )
