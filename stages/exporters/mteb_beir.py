"""A retrieval data set: the folder is a BEIR data set and an MTEB repository at once.

BEIR reads `corpus.jsonl`, `queries.jsonl` and `qrels/SPLIT.tsv`, of which it skips the first line whatever it is: so there
is a header. MTEB and `datasets` follow the `README.md` to the Parquet files: configurations `corpus`, `queries` and
`default`, the qrels. These hold ids as strings, where a reader of TSV would make 1 of 0001. An id with a tab, a line end
or a quote is refused: readers of TSV do not agree on it. All qrels are there, those of 0 and below also.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
from pydantic import Field

from stages.errors import InputError
from stages.exporters import _repository as repository
from stages.exporters._card import card
from stages.exporters._common import Row, Summary, Texts, dumps, export
from stages.exporters._parquet import RowGroups, id_rows
from stages.exporters._rows import loaded
from stages.registry import Member
from stages.spec import Source
from stages.text import join_title

CHECKED = {"beir": "2.2.0", "mteb": "2.26.24", "datasets": "5.2.0"}
LOADER = "datasets"
CORPUS, QUERIES = "corpus/corpus-00000-of-00001.parquet", "queries/queries-00000-of-00001.parquet"
HEADER = b"query-id\tcorpus-id\tscore\n"


class MtebBeir(Member):
    """Corpus, queries and qrels; one row for each judgement, and no negatives."""

    whole: ClassVar[tuple[str, ...]] = ("document", "query")
    titles_apart: ClassVar[tuple[str, ...]] = ("load", "beside")
    needs: ClassVar[tuple[str, ...]] = ("qrels",)
    title: str = Field("A retrieval data set", min_length=1, description="heading and `pretty_name` of the card")

    def write(self, triplets: Source, texts: Texts, folder: Path) -> Summary:
        """Writes the target into the new `folder`. Raises InputError for a text or an id that readers do not take."""

        def write(left_out: Counter[str]) -> tuple[int, tuple[str, ...]]:
            names = [CORPUS, QUERIES, "corpus.jsonl", "queries.jsonl", "README.md"]
            _both(folder / CORPUS, folder / "corpus.jsonl", repository.CORPUS, repository.corpus(texts))
            _both(folder / QUERIES, folder / "queries.jsonl", repository.QUERIES, repository.queries(texts))
            (folder / "qrels").mkdir()
            left_out["negatives_not_in_this_format"] += triplets.rows
            rows, found = 0, repository.splits(texts.more["qrels"])
            with id_rows(folder, repository.IDS) as sidecar:
                for split in found:
                    names += [f"data/{split}-00000-of-00001.parquet", f"qrels/{split}.tsv"]
                    rows += _qrels(texts, split, folder, names[-2:], sidecar)
            configs = {
                "default": {split: f"data/{split}-*.parquet" for split in found},
                "corpus": {"corpus": "corpus/*.parquet"},
                "queries": {"queries": "queries/*.parquet"},
            }
            says = (
                f"# {self.title}\n\nMade with Hardrock. The folder loads with `mteb`, with `beir` and with `datasets`."
            )
            keys = {"pretty_name": self.title, "task_categories": ["text-retrieval"], "tags": ["mteb"]}
            (folder / "README.md").write_text(card(configs, says, "default", **keys), "utf-8")
            return rows, tuple(names)

        return export(self, CHECKED, folder, triplets, write)

    def load(self, folder: Path) -> Iterator[Row]:
        """Every judgement with its texts, through the Parquet files."""
        corpus, queries = loaded("parquet", folder / CORPUS), loaded("parquet", folder / QUERIES)
        asked, where = ({name: i for i, name in enumerate(one["_id"])} for one in (queries, corpus))
        for row in loaded("parquet", *sorted((folder / "data").glob("*.parquet"))):
            query, document = queries[asked[row["query-id"]]], corpus[where[row["corpus-id"]]]
            positives = (join_title(document["title"], document["text"]),)
            yield Row(query["text"], positives, (), (row["score"],))

    def wanted(self, texts: Texts, folder: Path) -> Iterator[Row]:
        """A row for each judgement of the qrels."""
        yield from repository.wanted(texts)

    def complete(self, texts: Texts, folder: Path) -> str:
        """Raises ArtefactError unless every judgement is there."""
        return repository.complete(self.name, texts, folder)

    def beside(self, folder: Path) -> Iterator[tuple[str, str, str]]:
        """Every document and query."""
        yield from repository.whole(folder)


def _both(parquet: Path, lines: Path, schema: pa.Schema, tables: Iterator[pa.Table]) -> None:
    """The same rows as Parquet and as JSON lines."""

    def seen() -> Iterator[pa.Table]:
        with lines.open("wb") as file:
            for table in tables:
                file.writelines(dumps(row).encode() + b"\n" for row in table.to_pylist())
                yield table

    repository.write_parquet(parquet, schema, seen())


def _qrels(texts: Texts, split: str, folder: Path, names: list[str], sidecar: RowGroups) -> int:
    parquet, tsv = (folder / name for name in names)

    def seen() -> Iterator[pa.Table]:
        with tsv.open("wb") as file:
            file.write(HEADER)
            for table, ids in repository.qrels(texts, texts.more["qrels"], split):
                for query, doc, score in zip(*(column.to_pylist() for column in table.columns), strict=True):
                    for name in (query, doc):
                        if re.search(r'[\t\r\n"]', name):
                            raise InputError(
                                "an id cannot go into a TSV of qrels", got=repr(name), try_="give it another id"
                            )
                    file.write(f"{query}\t{doc}\t{score}\n".encode())
                sidecar.write(ids)
                yield table

    return repository.write_parquet(parquet, repository.QRELS, seen())
