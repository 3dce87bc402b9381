"""Which files of a folder in BEIR layout are read, and for which split."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from stages.datasets._helpers import File
from stages.errors import ConfigError, InputError
from stages.records import SPLIT_NAMES, SPLITS


class BeirFolder:
    """The files of a folder; `splits` are the names of those of qrels, empty for all that name a split.

    A `prefix` and a hyphen stand in front of the names of queries and of the folder of qrels.
    """

    def __init__(self, path: str, splits: tuple[str, ...], prefix: str = "") -> None:
        self._path, self._splits = path, splits
        self._before = f"{prefix}-" if prefix else ""
        self.qrels_folder = f"{self._before}qrels"

    @property
    def corpus(self) -> File:
        """Raises InputError."""
        return self.file("corpus.jsonl")

    @property
    def queries(self) -> File:
        """Raises InputError."""
        return self.file(f"{self._before}queries.jsonl")

    def file(self, name: str) -> File:
        """A file, or its like with `.gz`. Raises InputError."""
        folder = Path(self._path)
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
        folder = Path(self._path, self.qrels_folder)
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
            found[stem] = File(f"{self.qrels_folder}/{path.name}", path)
        return found

    @cached_property
    def qrels(self) -> dict[str, File]:
        """The files to read by their split: train, dev, test."""
        if missing := [name for name in self._splits if name not in self._found]:
            raise ConfigError(
                f"splits: there is no {self.qrels_folder}/{missing[0]}.tsv",
                where=self._path,
                got=", ".join(self._found) or "no qrels at all",
            )
        chosen: dict[str, File] = {}
        for name in self._splits or self._found:
            split = SPLIT_NAMES.get(name.lower())
            if split is None:
                if self._splits:
                    raise ConfigError(
                        f"splits: {name!r} is none of {', '.join(SPLITS)}",
                        where=self._path,
                        try_=f"rename {self.qrels_folder}/{name}.tsv to what it is for",
                    )
                continue
            if split in chosen:
                raise ConfigError(
                    f"{chosen[split].name} and {self._found[name].name} are both the split {split}",
                    where=self._path,
                    try_=f'splits = ["{name}"], or one of the other',
                )
            chosen[split] = self._found[name]
        if not chosen:
            raise InputError(
                "the data set has no qrels of train, dev or test",
                where=str(Path(self._path, self.qrels_folder)),
                got=", ".join(self._found) or "no file that ends in .tsv",
                try_=f"{self.qrels_folder}/train.tsv, with query-id, corpus-id and score",
            )
        return {split: chosen[split] for split in SPLITS if split in chosen}

    @property
    def ignored(self) -> list[str]:
        """The names of files of qrels that no split is known for."""
        taken = {file.name for file in self.qrels.values()}
        return [] if self._splits else [f.name for f in self._found.values() if f.name not in taken]
