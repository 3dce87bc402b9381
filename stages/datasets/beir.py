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

from stages.datasets._beir_qrels import judgements
from stages.datasets._guess import Guess
from stages.datasets._helpers import File, digest, missing_key, objects
from stages.errors import ConfigError, HardrockError, InputError
from stages.records import SPLIT_NAMES, SPLITS, Document, Fault, Judgement, Note, Query
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

    column_names: ClassVar[Mapping[str, str]] = {
        "id": "_id",
        "query_id": "query-id",
        "doc_id": "corpus-id",
        "relevance": "score",
    }

    def fingerprint(self) -> str:
        """A sha256 over the bytes of the files that are read."""
        return digest([self._file("corpus.jsonl"), self._file("queries.jsonl"), *self._qrels.values()])

    def locate(self, file: str) -> str:
        return str(Path(self.path, file))

    def documents(self) -> Iterator[Document | Fault]:
        file = self._file("corpus.jsonl")
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
        file = self._file("queries.jsonl")
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
        for name in self._ignored:
            yield Note(f"{name} is not read: its name is no split; splits = [...] with its name says how to take it")
        for split, file in self._qrels.items():
            yield from judgements(file, split)

    def _file(self, name: str) -> File:
        folder = Path(self.path)
        found = [n for n in (name, f"{name}.gz") if (folder / n).exists() or (folder / n).is_symlink()]
        if len(found) == 1:
            return File(found[0], folder / found[0])
        raise InputError(
            f"both {name} and {name}.gz are there" if found else f"the data set has no {name}",
            where=str(folder),
            got="; ".join(sorted(p.name for p in folder.iterdir())[:10]) if folder.is_dir() else "no such folder",
            try_="keep one of the two"
            if found
            else "a BEIR folder holds corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv",
        )

    @cached_property
    def _found(self) -> dict[str, File]:
        """Every qrels file by its name without suffix, in the order of names."""
        folder = Path(self.path, "qrels")
        found: dict[str, File] = {}
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            stem = path.name.removesuffix(".gz").removesuffix(".tsv")
            if stem == path.name.removesuffix(".gz"):
                continue
            if stem in found:
                raise InputError(
                    f"both {found[stem].path.name} and {path.name} are there",
                    where=str(folder),
                    try_="keep one of the two",
                )
            found[stem] = File(f"qrels/{path.name}", path)
        return found

    @cached_property
    def _qrels(self) -> dict[str, File]:
        """The files to read by their split: train, dev, test."""
        if missing := [name for name in self.splits if name not in self._found]:
            raise ConfigError(
                f"splits: there is no qrels/{missing[0]}.tsv",
                where=self.path,
                got=", ".join(self._found) or "no qrels at all",
            )
        chosen: dict[str, File] = {}
        for name in self.splits or self._found:
            split = SPLIT_NAMES.get(name.lower())
            if split is None:
                if self.splits:
                    raise ConfigError(
                        f"splits: {name!r} is none of {', '.join(SPLITS)}",
                        where=self.path,
                        try_=f"rename qrels/{name}.tsv to what it is for",
                    )
                continue
            if split in chosen:
                raise ConfigError(
                    f"{chosen[split].name} and {self._found[name].name} are both the split {split}",
                    where=self.path,
                    try_=f'splits = ["{name}"], or one of the other',
                )
            chosen[split] = self._found[name]
        if not chosen:
            raise InputError(
                "the data set has no qrels of train, dev or test",
                where=str(Path(self.path, "qrels")),
                got=", ".join(self._found) or "no file that ends in .tsv",
                try_="qrels/train.tsv, with query-id, corpus-id and score",
            )
        return {split: chosen[split] for split in SPLITS if split in chosen}

    @property
    def _ignored(self) -> list[str]:
        taken = {file.name for file in self._qrels.values()}
        return [] if self.splits else [f.name for f in self._found.values() if f.name not in taken]


def recognise(place: str) -> Guess | None:
    """A folder with corpus.jsonl, queries.jsonl and qrels."""
    try:
        member = Beir(path=place)
        files = [member._file("corpus.jsonl"), member._file("queries.jsonl"), *member._qrels.values()]
    except HardrockError:
        return None
    return Guess(80, {"path": place}, (f"files {', '.join(file.name for file in files)}",))
