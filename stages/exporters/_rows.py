"""Triplets as rows for formats of lists: a query, or a query and one positive, with all its negatives; and the loaders of rows."""

from __future__ import annotations

import atexit
import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from stages.exporters._common import Row, Texts, id_fields, whole_groups
from stages.spec import Source

FILE = "data/train.jsonl"
IDS = id_fields(
    "query_id", "positive_ids", "negative_ids", "query_row", "positive_rows", "negative_rows",
    "positive_scores", "negative_scores", "ranks",
    many=("positive_ids", "negative_ids", "positive_rows", "negative_rows", "positive_scores", "negative_scores", "ranks"),
)  # fmt: skip


class Document(NamedTuple):
    """A positive or a negative. `text` has the title in front, `body` has not; `score` is null where it is not known."""

    id: str
    row: int
    title: str
    body: str
    text: str
    score: float | None
    rank: int | None

    @property
    def finite(self) -> bool:
        """Whether its score is known, and one that JSON can hold."""
        return self.score is not None and math.isfinite(self.score)


class Example(NamedTuple):
    """A query with its positives and negatives, each document once, in the order of choice."""

    id: str
    row: int
    query: str
    prompt: str
    positives: tuple[Document, ...]
    negatives: tuple[Document, ...]
    triplets: tuple[tuple[int, int], ...]  # rows of positive and negative of all triplets that it comes from

    @property
    def scored(self) -> bool:
        """Whether every document has a score that JSON can hold."""
        return all(d.finite for d in (*self.positives, *self.negatives))

    def missing(self, *kept: Document) -> int:
        """How many of its triplets are not wholly among these documents."""
        rows = {document.row for document in kept}
        return sum(p not in rows or n not in rows for p, n in self.triplets)

    def ids(self) -> dict[str, Any]:
        """Its row of `ids.parquet`."""
        found: dict[str, Any] = {"query_id": self.id, "query_row": self.row, "ranks": [d.rank for d in self.negatives]}
        for kind, documents in (("positive", self.positives), ("negative", self.negatives)):
            found |= {f"{kind}_{one}s": [getattr(d, one) for d in documents] for one in ("id", "row", "score")}
        return found


def examples(triplets: Source, texts: Texts, left_out: Counter[str], per_pair: bool = False) -> Iterator[list[Example]]:
    """The triplets by query, or by query and positive, a batch at a time. A negative that comes twice is counted."""
    for table, bounds in whole_groups(triplets, ("query_row", "positive_row") if per_pair else ("query_row",)):
        query = table.column("query_row").to_numpy()[bounds[:-1]]
        names = texts.query_ids.take(pa.array(query)).to_pylist()
        asked, prompts = texts.anchors(query, prompts=False).to_pylist(), texts.own_prompts(query)
        positives, negatives = (_documents(table, texts, kind) for kind in ("positive", "negative"))
        pairs = list(zip(*(table.column(f"{kind}_row").to_pylist() for kind in ("positive", "negative")), strict=True))
        found = []
        for i, (start, stop) in enumerate(pairwise(bounds)):
            pos, neg = (_firsts(many[start:stop]) for many in (positives, negatives))
            left_out["repeated_negatives"] += int(stop - start) - len(neg)
            found.append(Example(names[i], int(query[i]), asked[i], prompts[i], pos, neg, tuple(pairs[start:stop])))
        yield found


def _firsts(documents: Sequence[Document]) -> tuple[Document, ...]:
    found: dict[int, Document] = {}
    for document in documents:
        found.setdefault(document.row, document)
    return tuple(found.values())


def _documents(table: pa.Table, texts: Texts, kind: str) -> list[Document]:
    rows = table.column(f"{kind}_row").to_numpy()
    taken = pa.array(rows)
    columns = (
        texts.doc_ids.take(taken).to_pylist(),
        rows.tolist(),
        [title or "" for title in texts.titles.take(taken).to_pylist()],
        texts.docs.take(taken).to_pylist(),
        texts.documents(rows).to_pylist(),
        table.column(f"{kind}_score").to_pylist(),
        table.column("rank").to_pylist() if kind == "negative" else [None] * len(rows),
    )
    return [Document(*values) for values in zip(*columns, strict=True)]


def scored_line(example: Example, scores: bool, left_out: Counter[str]) -> dict[str, Any] | None:
    """`query`, `pos`, `neg`, and with `scores` `pos_scores` and `neg_scores`; None where one of these is not known."""
    line: dict[str, Any] = {
        "query": example.query,
        "pos": [d.text for d in example.positives],
        "neg": [d.text for d in example.negatives],
    }
    if scores:
        if not example.scored:
            left_out["queries_with_a_score_missing"] += 1
            return None
        line |= {"pos_scores": [d.score for d in example.positives], "neg_scores": [d.score for d in example.negatives]}
    return line


def load_lines(folder: Path, row: Callable[[Mapping[str, Any]], Row], name: str = FILE) -> Iterator[Row]:
    """The rows of JSON lines, through the builder of `datasets` that these trainers load with."""
    yield from map(row, loaded("json", folder / name))


def load_columns(folder: Path) -> Iterator[Row]:
    """The rows of Parquet files with a query, a positive where there is one, and columns of one negative each."""
    found = loaded("parquet", *sorted((folder / "data").glob("*.parquet")))
    texts = [name for name in found.column_names if name not in ("label", "score", "scores")]
    for row in found:
        query, *documents = (row[name] for name in texts)
        label = [value for name, value in row.items() if name not in texts]
        flat = label[0] if label and isinstance(label[0], list) else label
        yield Row(query, tuple(documents[:1]), tuple(documents[1:]), tuple(flat))


def scores_of(row: Mapping[str, Any]) -> tuple[float, ...]:
    """The scores in a row of `ids.parquet`: of the positives, then of the negatives."""
    kinds = ("positive", "negative")
    return tuple(s for k in kinds for s in ([row[f"{k}_score"]] if f"{k}_score" in row else row[f"{k}_scores"]))


def single(scores: Sequence[float]) -> tuple[float, ...]:
    """The scores as float32 holds them."""
    return tuple(float(np.float32(score)) for score in scores)


def loaded(builder: str, *files: Path) -> Any:
    """The data set that a builder of `datasets` makes of the files, in a cache that goes with the process."""
    import datasets

    cache = scratch()
    return datasets.load_dataset(builder, data_files=[str(f) for f in files], split="train", cache_dir=cache)


def scratch() -> str:
    """A new folder for the cache of a loader, which goes when the process ends."""
    folder = tempfile.mkdtemp(prefix="hardrock-verify-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
