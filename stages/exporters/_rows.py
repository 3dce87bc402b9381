"""Triplets as rows for formats of lists: a query, or a query and one positive, with all its negatives.

A format of JSON lines is then one function from an `Example` to an object: `export_lines` writes `data/train.jsonl` and,
in the same row order, `ids.parquet`, in memory for one batch of triplets.
"""

from __future__ import annotations

import atexit
import math
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from stages.errors import InputError
from stages.exporters._common import Row, RowGroups, Summary, Texts, dumps, export, id_fields, whole_groups
from stages.registry import Member
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


def export_lines(
    member: Member,
    checked: Mapping[str, str],
    triplets: Source,
    texts: Texts,
    folder: Path,
    *,
    line: Callable[[Example, Counter[str]], Any],
    per_pair: bool = False,
    beside: Callable[[], tuple[str, ...]] = tuple,
    framed: Framed | None = None,
    escaped: Counter[str] | None = None,
) -> Summary:
    """Writes `line` of every example; one that gives None is left out, and `line` counts why.

    `beside` writes further files into the folder and returns their names. `framed` says how the objects become one file.
    Raises InputError for a text that no trainer takes, YieldError for no rows.
    """
    frame = framed or Framed()

    def write(left_out: Counter[str]) -> tuple[int, tuple[str, ...]]:
        (folder / "data").mkdir()
        rows, types = 0, Types(frame.name)
        with (folder / frame.name).open("wb") as file, RowGroups(folder / "ids.parquet", IDS) as sidecar:
            file.write(frame.head)
            for batch in examples(triplets, texts, left_out, per_pair):
                kept = []
                for example in batch:
                    found = line(example, left_out)
                    if found is None:
                        left_out["negatives_of_rows_left_out"] += len(example.triplets)
                        continue
                    encoded = dumps(found).encode()
                    types.sees(found, len(encoded) + 1)
                    file.write((frame.between if rows else b"") + encoded)
                    kept.append(example.ids())
                    rows += 1
                sidecar.write(pa.Table.from_pylist(kept, schema=IDS))
            file.write(frame.tail)
        if frame.typed:
            types.ends()
        return rows, (frame.name, *beside())

    return export(member, checked, folder, triplets, write, escaped)


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


class Framed(NamedTuple):
    """How objects become one file: lines of JSON, or with other values one JSON document.

    `typed` says that the loader guesses the types of JSON lines, as `datasets` does.
    """

    name: str = FILE
    head: bytes = b""
    between: bytes = b"\n"
    tail: bytes = b"\n"
    typed: bool = True


class Types:
    """Follows how `datasets` guesses the types of JSON lines: once for each chunk of ten megabytes, ended by a whole line.

    A field of which every text in a chunk is a date becomes a timestamp, and the text is lost. Raises InputError then.
    """

    CHUNK = 10 << 20  # bytes
    DATE = re.compile(r"\d{4}-\d{2}-\d{2}[\d T:.,Z+-]*", re.ASCII)  # more than what it takes for a date

    def __init__(self, file: str) -> None:
        self._file, self._lines, self._first, self._bytes = file, 0, 1, 0
        self._dated: set[str] = set()
        self._other: set[str] = set()

    def sees(self, line: Any, size: int) -> None:
        """The next line, and its bytes with the line's end."""
        if self._bytes == 0:
            self._dated, self._other, self._first = set(), set(), self._lines + 1
        self._lines += 1
        self._bytes += size
        for path, text in _leaves(line, ""):
            (self._dated if self.DATE.fullmatch(text) else self._other).add(path)
        if self._bytes > self.CHUNK:
            self.ends()
            self._bytes = 0

    def ends(self) -> None:
        """The end of a chunk, or of the file."""
        if wrong := self._dated - self._other:
            raise InputError(
                "the loader of this format would turn texts or ids into timestamps",
                where=f"{self._file}, lines {self._first} to {self._lines}",
                got=f"nothing but dates in {', '.join(sorted(wrong))}",
                try_="export to a format of Parquet files, or add other texts",
            )


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, path)


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
