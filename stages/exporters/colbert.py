"""ColBERT: `data/triples.jsonl` of integers, `collection.tsv`, `queries.tsv`, and `id_map.parquet`.

A passage's id must be the number of its line, from 0, so ids are rows here and `id_map.parquet` says which is which.
There is no quoting, so tabs and line ends in texts become blanks, counted. A third column would be put in front of the
text as "title | text"; titles are joined in front of the text instead, as they were encoded.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from stages.exporters._common import Row, Texts
from stages.exporters._lines import Lines
from stages.exporters._parquet import RowGroups
from stages.exporters._pieces import Framed
from stages.exporters._rows import Example, loaded, scores_of
from stages.exporters._tsv import escape, shown

CHECKED = {"colbert-ai": "0.2.22"}
LOADER = "colbert"
FILE, COLLECTION, QUERIES, MAP = "data/triples.jsonl", "collection.tsv", "queries.tsv", "id_map.parquet"
SCHEMA = pa.schema([("kind", pa.string()), ("number", pa.int32()), ("id", pa.string())])


class Colbert(Lines):
    """Lines [query, positive, negative, …], one for each query and positive, with all its negatives."""

    whole: ClassVar[tuple[str, ...]] = ("document", "query")
    per_pair: ClassVar[bool] = True
    scores: bool = Field(
        False, description="[id, score] instead of ids, for distillation; pairs with one missing are left out"
    )

    @property
    def framed(self) -> Framed:
        """Lines of numbers, of which no loader guesses types."""
        return Framed(FILE, typed=False)

    @property
    def accompanied(self) -> bool:
        """There are a collection and queries."""
        return True

    def others(self, texts: Texts, folder: Path, escaped: Counter[str]) -> tuple[str, ...]:
        """The collection, the queries, and which number is which id."""
        with RowGroups(folder / MAP, SCHEMA) as numbers:
            for name, kind, ids in ((COLLECTION, "document", texts.doc_ids), (QUERIES, "query", texts.query_ids)):
                with (folder / name).open("wb") as file:
                    for rows in texts.corpus() if kind == "document" else texts.asked():
                        found = texts.documents(rows) if kind == "document" else texts.anchors(rows, prompts=False)
                        for row, text in zip(rows.tolist(), found.to_pylist(), strict=True):
                            file.write(f"{row}\t{escape(text, escaped)}\n".encode())
                        names = ids.take(pa.array(rows)).cast(pa.string())
                        columns = [pa.array([kind] * len(rows)), pa.array(rows.astype(np.int32)), names]
                        numbers.write(pa.table(columns, schema=SCHEMA))
        return COLLECTION, QUERIES, MAP

    def _line(self, example: Example, left_out: Counter[str]) -> list[Any] | None:
        documents = (*example.positives, *example.negatives)
        if not self.scores:
            return [example.row, *(d.row for d in documents)]
        if not example.scored:
            left_out["pairs_with_a_score_missing"] += 1
            return None
        return [example.row, *([d.row, d.score] for d in documents)]

    def shown(self, text: str) -> str:
        """A text as this format holds it."""
        return shown(text)

    def load(self, folder: Path) -> Iterator[Row]:
        """Every row as its collection, queries and examples give it."""
        from colbert.data import Collection, Queries

        passages, queries = Collection(path=str(folder / COLLECTION)), Queries(path=str(folder / QUERIES))
        with (folder / FILE).open("rb") as file:
            for line in file:
                query, positive, *negatives = json.loads(line)
                numbers = [one[0] if self.scores else one for one in (positive, *negatives)]
                labels = tuple(one[1] for one in (positive, *negatives)) if self.scores else ()
                yield Row(queries[query], (passages[numbers[0]],), tuple(passages[n] for n in numbers[1:]), labels)

    def labels(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        """The scores that a row of `ids.parquet` calls for."""
        return scores_of(row) if self.scores else ()

    def beside(self, folder: Path) -> Iterator[tuple[str, str, str]]:
        """Every document and query, by the id that `id_map.parquet` gives to its number."""
        from colbert.data import Collection, Queries

        found = {"document": Collection(path=str(folder / COLLECTION)), "query": Queries(path=str(folder / QUERIES))}
        for row in loaded("parquet", folder / MAP):
            yield row["kind"], row["id"], found[row["kind"]][row["number"]]
