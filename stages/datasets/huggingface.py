"""A data set as `datasets` lays it out: a folder with a card or with files by split, a folder of `save_to_disk`, an id of the hub.

Columns are found by their names as for pairs, and passages with `positive_passages`. Lists written as text (`"['a', 'b']"`) are
read as lists where every one of the first rows is such a list. Parquet, Arrow, JSONL, CSV and TSV are read as they are: no type is
guessed, and no copy goes into a cache. Given negatives are documents judged not relevant; scores beside them are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path

from pydantic import Field

from stages.datasets import _repository as repository
from stages.datasets._columns import Asked, detect, says, scores
from stages.datasets._examples import Columns, Examples, check_columns, listed
from stages.datasets._guess import Guess
from stages.datasets._helpers import File
from stages.datasets._tables import columns, rows
from stages.errors import ConfigError, HardrockError
from stages.records import SPLIT_NAMES, Fault, Note
from stages.settings import speed

_PROBED = 100  # rows that decide whether a column holds lists written as text


class Huggingface(Examples):
    """Columns of a configuration of a data set, all its splits or some."""

    path: str | None = speed(None, "A folder, or a file. Its content is part of a result's identity.")
    repo: str | None = Field(None, description="An id of the hub, OWNER/NAME, instead of a path.")
    revision: str | None = Field(None, description="Commit, tag or branch on the hub; a commit never changes.")
    subset: str | None = Field(None, description="Configuration; null takes the only one, or the one called default.")
    splits: tuple[str, ...] = Field((), description="Splits to read; empty reads all.")
    anchor: str | None = Field(None, description="Column of queries; null looks for a known name.")
    positive: str | None = Field(None, description="Column of relevant texts; null looks for a known name.")
    negatives: tuple[str, ...] | None = Field(None, description="Columns of negatives; null looks for known names.")
    label: str | None = Field(None, description="Column of 0 or 1: with 0 the text in `positive` is not relevant.")
    anchor_id: str | None = Field(None, description="Column of query ids; null makes ids from the texts.")
    positive_id: str | None = Field(None, description="Column of ids of the positives; null makes ids from the texts.")

    @cached_property
    def _folder(self) -> Path:
        return repository.folder_of(self.path, self.repo, self.revision)

    @cached_property
    def _splits(self) -> repository.Splits:
        found = repository.configurations(self._folder)
        chosen = found[repository.choose(found, self.subset, "subset", str(self._folder))]
        if lacks := [name for name in self.splits if name not in chosen]:
            got = ", ".join(chosen)
            raise ConfigError(f"splits: there is no {lacks[0]!r}", where=str(self._folder), got=got)
        return {name: files for name, files in chosen.items() if not self.splits or name in self.splits}

    @cached_property
    def files(self) -> list[File]:
        return [file for files in self._splits.values() for file in files]

    @cached_property
    def _split_by_file(self) -> dict[str, str]:
        """The split of each file; empty where the names say one split alone, or what is none of train, dev and test."""
        known = {name: SPLIT_NAMES.get(name.lower()) for name in self._splits}
        if None in known.values() or len(set(known.values())) < 2:
            return {}
        return {file.name: str(known[name]) for name, files in self._splits.items() for file in files}

    def notes(self) -> Iterator[Note]:
        """The columns that were taken by their names, and what is not read."""
        found = self.columns
        yield Note(says(found))
        if found.encoded:
            yield Note(f"{', '.join(sorted(found.encoded))}: lists written as text, read as lists")
        if found.negatives and (left := [n for n in scores(columns(self.files[0])) if n != self.label]):
            yield Note(f"{', '.join(left)}: not read; a teacher's scores are made by the stage teach")

    @cached_property
    def columns(self) -> Columns:
        file = self.files[0]
        known, where = columns(file), str(file.path)
        named = (self.anchor, self.positive, *(self.negatives or ()), self.label, self.anchor_id, self.positive_id)
        check_columns(named, known, where)
        found = detect(Asked(self.anchor, self.positive, self.negatives, self.label), known, where)
        passages = found.positive == "positive_passages" and "query_id" in known
        given = self.anchor_id or ("query_id" if passages else None)
        lists = {"pos": "pos_scores", "neg": "neg_scores"}  # FlagEmbedding's
        beside = tuple(s if (s := lists.get(n)) in known else None for n in (found.positive, *found.negatives))
        found = found._replace(anchor_id=given, positive_id=self.positive_id, nested=True, scores=beside)
        return found._replace(encoded=_encoded(file, (found.positive, *found.negatives)))


def _encoded(file: File, names: tuple[str, ...]) -> frozenset[str]:
    """The columns in which every one of the first rows is a list written as text."""
    first = [item[1] for item in islice(rows(file, names, names), _PROBED) if not isinstance(item, Fault)]
    cells = {name: [row[name] for row in first if row.get(name)] for name in names}
    return frozenset(
        name
        for name, found in cells.items()
        if found and all(isinstance(c, str) and listed(c) is not None for c in found)
    )


def recognise(place: str) -> Guess | None:
    """A folder with a card or with splits; an id of the hub."""
    folder = Path(place)
    if not folder.exists():
        words = place.split("/")
        hub = len(words) == 2 and all(words) and not place.startswith((".", "~")) and not Path(words[0]).exists()
        return (
            Guess(30, {"repo": place}, ("no such path here, and it reads as an id of the hub",), ("its columns",))
            if hub
            else None
        )
    saved = any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))
    try:
        member = Huggingface(path=place)
        found = says(member.columns)
    except HardrockError as error:
        return Guess(20, {"path": place}, ("it was written by save_to_disk",), (str(error),)) if saved else None
    if not folder.is_dir():
        return None
    why = "it was written by save_to_disk" if saved else f"splits {', '.join(member._splits)}"
    return Guess(70 if saved else 45, {"path": place}, (why, found))
