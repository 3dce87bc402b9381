"""A Hugging Face data set: a folder to upload as it is, with a card and a configuration for each view of the data.

`triplet` is the default and what sentence-transformers trains on; `n_tuple` is there where a pair has enough negatives;
`queries`, `corpus` and `qrels` are those of MTEB; `candidates` lists what was judged, with its verdict. Row groups are
small and pages indexed, so that the viewer shows a page without reading much more. No vectors: the viewer stops at them.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from stages.errors import YieldError
from stages.exporters import _repository as repository
from stages.exporters._card import card, keys
from stages.exporters._common import Row, Summary, Texts, export
from stages.exporters._rows import load_columns
from stages.exporters.st_ntuple import StNtuple
from stages.exporters.st_triplet import StTriplet
from stages.registry import Member
from stages.spec import Source

CHECKED = {"datasets": "5.2.0"}
LOADER = "datasets"


class HfDataset(Member):
    """A folder for the Hub; its rows are those of the default configuration."""

    whole: ClassVar[tuple[str, ...]] = ("document", "query")
    titles_apart: ClassVar[tuple[str, ...]] = ("beside",)
    needs: ClassVar[tuple[str, ...]] = ("qrels", "judged")
    title: str = Field("Hard negatives", min_length=1, description="heading and `pretty_name` of the card")
    language: str = Field("", description="language code in the card, such as en; empty for none")
    license: str = Field("", description="license identifier in the card, such as apache-2.0; empty for none")
    negatives: int = Field(5, ge=1, le=1000, description="negatives in each row of `n_tuple`, a column each")

    def write(self, triplets: Source, texts: Texts, folder: Path) -> Summary:
        """Writes the target into the new `folder`. Raises InputError for a text that no trainer takes, YieldError for no rows."""

        def write(left_out: Counter[str]) -> tuple[int, tuple[str, ...]]:
            configs: dict[str, dict[str, str]] = {"triplet": {"train": "data/train-*.parquet"}}
            triplet = StTriplet().write(triplets, texts, folder / "_triplet")
            (folder / "_triplet/data").rename(folder / "data")
            (folder / "_triplet/ids.parquet").rename(folder / "ids.parquet")
            names = list(triplet.files) + self._ntuple(triplets, texts, folder, left_out)
            shutil.rmtree(folder / "_triplet")
            if len(names) > len(triplet.files):
                configs["n_tuple"] = {"train": "n_tuple/train-*.parquet"}
            found = repository.splits(texts.more["qrels"])
            configs |= {"queries": {"queries": "queries/*.parquet"}, "corpus": {"corpus": "corpus/*.parquet"}}
            configs["qrels"] = {split: f"qrels/{split}-*.parquet" for split in found}
            configs["candidates"] = {"train": "candidates/train-*.parquet"}
            names += _tables(texts, folder, found)
            (folder / "README.md").write_text(
                card(configs, self._says(triplet.rows), "triplet", **self._keys(triplet.rows)), "utf-8"
            )
            return triplet.rows, (*names, "README.md")

        return export(self, CHECKED, folder, triplets, write)

    def _ntuple(self, triplets: Source, texts: Texts, folder: Path, left_out: Counter[str]) -> list[str]:
        place = folder / "_n_tuple"
        try:
            summary = StNtuple(negatives=self.negatives).write(triplets, texts, place)
        except YieldError:
            left_out["n_tuples_for_want_of_negatives"] += 1
            summary = Summary(0, ())
        else:
            (place / "data").rename(folder / "n_tuple")
        left_out.update({f"n_tuple_{reason}": count for reason, count in summary.left_out.items()})
        shutil.rmtree(place)
        return [name.replace("data/", "n_tuple/", 1) for name in summary.files]

    def _keys(self, rows: int) -> dict[str, Any]:
        tasks, tags = ("sentence-similarity", "text-retrieval"), ("sentence-transformers", "hard-negatives")
        return keys(self.title, rows, language=self.language, license=self.license, tasks=tasks, tags=tags)

    def _says(self, rows: int) -> str:
        load = 'load_dataset("FOLDER", "triplet", split="train")'
        return f"# {self.title}\n\n{rows:,} triplets with mined hard negatives, made with Hardrock.\n\n    {load}"

    def load(self, folder: Path) -> Iterator[Row]:
        """Every row of the default configuration."""
        yield from load_columns(folder)

    def beside(self, folder: Path) -> Iterator[tuple[str, str, str]]:
        """Every document and query."""
        yield from repository.whole(folder)


def _tables(texts: Texts, folder: Path, splits: list[str]) -> list[str]:
    """Queries, corpus, qrels and candidates; returns the names of their files."""
    tables: dict[str, tuple[pa.Schema, Iterator[pa.Table]]] = {
        "queries/queries": (repository.QUERIES, repository.queries(texts)),
        "corpus/corpus": (repository.CORPUS, repository.corpus(texts)),
        "candidates/train": (repository.CANDIDATES, repository.candidates(texts)),
    }
    for split in splits:
        rows = (table for table, _ in repository.qrels(texts, texts.more["qrels"], split))
        tables[f"qrels/{split}"] = (repository.QRELS, rows)
    names = []
    for name, (schema, parts) in tables.items():
        names.append(f"{name}-00000-of-00001.parquet")
        repository.write_parquet(folder / names[-1], schema, parts)
    return names
