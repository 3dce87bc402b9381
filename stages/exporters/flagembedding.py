"""FlagEmbedding (BGE): `data/train.jsonl`, one object a query: `query`, `pos`, `neg`.

What its loader does not say, and what follows from it here:

* It divides by the number of negatives, so every row has at least one; with fewer than its `train_group_size` - 1 it repeats them.
* It reads only names that end in `.jsonl` or `.json`, others it skips without a word; so the file is plain. It reads every
  such file of a folder, so `export.json` is outside of `data/`.
* Where a field is missing in one row it becomes null in all, and a null prompt becomes the text "None"; so a row has the
  same fields as every other.
* It splits a bare string into characters, so lists are lists, even of one.
* It guesses types: where all texts of a field, within ten megabytes, look like dates it makes dates of them; such data is
  refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from stages.errors import InputError
from stages.exporters._common import RowGroups, Summary, Texts, dumps, export, id_fields, whole_groups
from stages.registry import Member
from stages.spec import Source

CHECKED = {"FlagEmbedding": "1.4.2", "datasets": "5.2.0"}

FILE = "data/train.jsonl"
IDS = id_fields(
    "query_id", "positive_ids", "negative_ids", "query_row", "positive_rows", "negative_rows",
    "positive_scores", "negative_scores", "ranks",
    many=("positive_ids", "negative_ids", "positive_rows", "negative_rows", "positive_scores", "negative_scores", "ranks"),
)  # fmt: skip


class Flagembedding(Member):
    """One row for each query: all its positives and all its negatives, each document once."""

    scores: bool = Field(
        False,
        description="add `pos_scores` and `neg_scores` for its `knowledge_distillation`; queries with a score missing are left out",
    )
    prompts: bool = Field(
        False,
        description="add `prompt`, empty for a query without one; used only where its `query_instruction_for_retrieval` is set",
    )

    def write(self, triplets: Source, texts: Texts, folder: Path) -> Summary:
        """Writes the target into the new `folder`. Raises InputError for a text that no trainer takes, YieldError for no rows."""

        def write(left_out: Counter[str]) -> tuple[int, tuple[str, ...]]:
            (folder / "data").mkdir()
            rows, loader = 0, _Loader()
            with (folder / FILE).open("wb") as file, RowGroups(folder / "ids.parquet", IDS) as sidecar:
                for lines, ids in self._batches(triplets, texts, left_out):
                    for line in lines:
                        encoded = dumps(line).encode() + b"\n"
                        loader.sees(line, len(encoded))
                        file.write(encoded)
                    sidecar.write(pa.Table.from_pylist(ids, schema=IDS))
                    rows += len(lines)
            loader.ends()
            return rows, (FILE,)

        return export(self, CHECKED, folder, triplets, write)

    def _batches(
        self, triplets: Source, texts: Texts, left_out: Counter[str]
    ) -> Iterator[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
        for table, bounds in whole_groups(triplets, ("query_row",)):
            query, positive, negative = (
                table.column(c).to_numpy() for c in ("query_row", "positive_row", "negative_row")
            )
            first = query[bounds[:-1]]
            columns = {
                "query": texts.anchors(first, prompts=False).to_pylist(),
                "prompt": texts.own_prompts(first),
                "pos": texts.documents(positive).to_pylist(),
                "neg": texts.documents(negative).to_pylist(),
            }
            ids = {
                "query_id": texts.query_ids.take(pa.array(first)).to_pylist(),
                "positive_id": texts.doc_ids.take(pa.array(positive)).to_pylist(),
                "negative_id": texts.doc_ids.take(pa.array(negative)).to_pylist(),
                **{name: table.column(name).to_pylist() for name in table.column_names},
            }
            lines, names = [], []
            for group, (start, stop) in enumerate(pairwise(bounds)):
                pos, neg = (start + np.unique(rows[start:stop], return_index=True)[1] for rows in (positive, negative))
                pos.sort()
                neg.sort()
                if self.scores and not _all_finite(ids, pos, neg):
                    left_out["queries_with_a_score_missing"] += 1
                    continue
                left_out["repeated_negatives"] += int(stop - start - len(neg))
                lines.append(self._line(columns, ids, group, pos, neg))
                names.append(_ids(ids, group, pos, neg))
            yield lines, names

    def _line(
        self,
        columns: Mapping[str, Sequence[Any]],
        ids: Mapping[str, Sequence[Any]],
        group: int,
        pos: np.ndarray,
        neg: np.ndarray,
    ) -> dict[str, Any]:
        line: dict[str, Any] = {
            "query": columns["query"][group],
            "pos": [columns["pos"][i] for i in pos],
            "neg": [columns["neg"][i] for i in neg],
        }
        if self.scores:
            line["pos_scores"] = [ids["positive_score"][i] for i in pos]
            line["neg_scores"] = [ids["negative_score"][i] for i in neg]
        if self.prompts:
            line["prompt"] = columns["prompt"][group]
        return line


def _all_finite(ids: Mapping[str, Sequence[Any]], pos: np.ndarray, neg: np.ndarray) -> bool:
    scores = [ids["positive_score"][i] for i in pos] + [ids["negative_score"][i] for i in neg]
    return all(score is not None and np.isfinite(score) for score in scores)


def _ids(ids: Mapping[str, Sequence[Any]], group: int, pos: np.ndarray, neg: np.ndarray) -> dict[str, Any]:
    return {
        "query_id": ids["query_id"][group],
        "query_row": ids["query_row"][pos[0]],
        **{f"positive_{one}s": [ids[f"positive_{one}"][i] for i in pos] for one in ("id", "row", "score")},
        **{f"negative_{one}s": [ids[f"negative_{one}"][i] for i in neg] for one in ("id", "row", "score")},
        "ranks": [ids["rank"][i] for i in neg],
    }


class _Loader:
    """Follows how the loader of JSON lines guesses types: once for each chunk of ten megabytes, ended by a whole line.

    A field of which every text in a chunk is a date becomes a timestamp, and the text is lost. Raises InputError then.
    """

    CHUNK = 10 << 20  # bytes
    FIELDS = ("query", "pos", "neg", "prompt")
    DATE = re.compile(r"\d{4}-\d{2}-\d{2}[\d T:.,Z+-]*", re.ASCII)  # more than what it takes for a date

    def __init__(self) -> None:
        self._lines, self._first, self._bytes = 0, 1, 0
        self._dated: set[str] = set()

    def sees(self, line: Mapping[str, Any], size: int) -> None:
        """The next line, and its bytes with the line's end."""
        if self._bytes == 0:
            self._dated, self._first = {name for name in self.FIELDS if name in line}, self._lines + 1
        self._lines += 1
        self._bytes += size
        for name in tuple(self._dated):
            texts = [line[name]] if isinstance(line[name], str) else line[name]
            if not all(self.DATE.fullmatch(text) for text in texts):
                self._dated.discard(name)
        if self._bytes > self.CHUNK:
            self.ends()
            self._bytes = 0

    def ends(self) -> None:
        """The end of a chunk, or of the file."""
        if self._dated:
            raise InputError(
                "the loader of FlagEmbedding would turn texts into timestamps",
                where=f"{FILE}, lines {self._first} to {self._lines}",
                got=f"nothing but dates in {', '.join(sorted(self._dated))}",
                try_="export to sentence-transformers, or add other texts",
            )
