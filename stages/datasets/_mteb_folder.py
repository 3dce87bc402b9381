"""Which files of a repository in MTEB's layout are its corpus, queries, qrels and instructions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.datasets import _repository as repository
from stages.datasets._examples import split_in
from stages.datasets._helpers import File, missing_key
from stages.datasets._tables import ALL_FORMATS, files_at, kind_of, rows
from stages.errors import ConfigError, InputError
from stages.records import SPLIT_NAMES, Fault, Judgement, shown

SCORE = "score"
_ROLES = {
    "corpus": ("corpus",),
    "queries": ("queries", "query"),
    "qrels": ("default", "qrels", "data"),
    "instruction": ("instruction",),
}


class MtebFolder:
    """The configurations of a folder, those that begin with `subset` where one is given; of qrels the `splits`, empty for all."""

    def __init__(self, folder: Path, subset: str | None, splits: tuple[str, ...]) -> None:
        self.folder, self._subset, self._splits = folder, subset, splits

    @cached_property
    def configurations(self) -> dict[str, repository.Splits]:
        """Files by split of each configuration, as the card says, else by the names of files and folders."""
        found = repository.configurations(self.folder)
        if len(found) > 1:
            return found
        names = {f"{self._subset}-{n}" if self._subset else n for role in _ROLES.values() for n in role}
        inner = {p.name.split(".")[0]: p for p in sorted(self.folder.iterdir()) if p.name.split(".")[0] in names}
        return {
            name: _folder_splits(name, place)
            for name, place in inner.items()
            if place.is_dir() or kind_of(place.name, ALL_FORMATS)
        }

    def role(self, role: str, *, optional: bool = False) -> repository.Splits:
        """Files by split of what is the corpus, the queries, the qrels or the instructions. Raises InputError."""
        names = [f"{self._subset}-{name}" if self._subset else name for name in _ROLES[role]]
        if name := next((n for n in names if n in self.configurations), None):
            return self.configurations[name]
        if optional:
            return {}
        raise InputError(f"the data set has no configuration {' or '.join(names)}", where=str(self.folder),
                         got=", ".join(self.configurations) or "none",
                         try_='subset = "…" where a name stands in front')  # fmt: skip

    @cached_property
    def qrels(self) -> dict[str, list[File]]:
        """Files by split."""
        found = self.role("qrels")
        if lacks := [name for name in self._splits if name not in found]:
            raise ConfigError(f"splits: there is no {lacks[0]!r}", where=str(self.folder), got=", ".join(found))
        chosen: dict[str, list[File]] = {}
        for name in self._splits or found:
            if split := SPLIT_NAMES.get(name.lower()):
                chosen.setdefault(split, []).extend(found[name])
        if not chosen:
            raise InputError("no split of qrels is train, dev or test", where=str(self.folder), got=", ".join(found),
                             try_="rename the split to what it is for")  # fmt: skip
        return chosen

    @cached_property
    def files(self) -> list[File]:
        """Every file that is read, once."""
        roles = [self.role("corpus"), self.role("queries"), self.qrels, self.role("instruction", optional=True)]
        return list({file.name: file for splits in roles for files in splits.values() for file in files}.values())


def _folder_splits(name: str, place: Path) -> repository.Splits:
    """The files of a configuration that no card describes, under names that begin with the configuration's."""
    if place.is_file():
        return {"train": [File(place.name, place)]}
    files = [File(f"{name}/{file.name}", file.path) for file in files_at(str(place), ALL_FORMATS)]
    found: repository.Splits = {}
    for file in files:
        found.setdefault(split_in(file.name) or "train", []).append(file)
    return found


def all_rows(
    splits: repository.Splits, wanted: tuple[str, ...], typed: tuple[str, ...] = ()
) -> Iterator[tuple[File, Any]]:
    """Every row of the files of these splits, or what is wrong with it, with its file."""
    for files in splits.values():
        for file in files:
            yield from ((file, item) for item in rows(file, wanted, typed))


def key_of(row: Mapping[str, Any]) -> Any:
    """The id of a document or a query. Raises KeyError."""
    return row["_id"] if "_id" in row else row["id"] if "id" in row else row["_id"]


def judgement(file: File, line: int, row: Mapping[str, Any], split: str) -> Judgement | Fault:
    """A row of qrels."""
    try:
        return Judgement(file.name, line, row["query-id"], row["corpus-id"], _whole(row[SCORE]), split)
    except KeyError as error:
        return missing_key(file, line, dict(row), error.args[0], "query-id")
    except ValueError:
        reason, mend = (
            f"the score {shown(row[SCORE])} is not a whole number",
            "write it as a whole number; above 0 is relevant",
        )
        name = query_id if isinstance(query_id := row["query-id"], str) else None
        return Fault(file.name, line, SCORE, name, reason, mend)


def _whole(score: Any) -> Any:
    """A score as a whole number where it is one: 1.0, and "1" of a TSV. Raises ValueError."""
    if isinstance(score, str):
        return int(score)
    if isinstance(score, float):
        if not score.is_integer():
            raise ValueError
        return int(score)
    return score
