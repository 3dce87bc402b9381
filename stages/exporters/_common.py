"""What the exporters share: texts by row, batches that no sharding can change, and the folder's `export.json`.

A target's folder holds in `data/` what the trainer reads, and beside it `ids.parquet`, one row for each row of the data in
the same order, and `export.json`. Trainers read every column, or every file of a folder, as training data; so ids, ranks
and scores stay out of `data/`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.columns import mapped
from stages.errors import ArtefactError, InputError, YieldError
from stages.records import shown
from stages.registry import Member
from stages.schemas import TRIPLETS
from stages.spec import Source
from stages.text import TITLE_FIRST, join_title, template_of

BATCH = 2_048  # triplets whose texts are in memory at once
NAMED = 5  # ids that a refusal names


@dataclass(frozen=True)
class Summary:
    """What one target holds: rows, the data files in order, and what was left out and how often."""

    rows: int
    files: tuple[str, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    escaped: Mapping[str, int] = field(default_factory=dict)


class Row(NamedTuple):
    """One row as the trainer sees it. What a format does not have in its rows is empty.

    `labels` are its labels or scores in the order of the format, `prompt` an instruction that is beside the query.
    """

    query: str
    positives: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
    labels: tuple[float, ...] = ()
    prompt: str = ""


@dataclass(frozen=True)
class Texts:
    """Ids and texts of queries and documents by row, each an Arrow column of one chunk."""

    query_ids: pa.Array
    queries: pa.Array
    prompts: pa.Array
    doc_ids: pa.Array
    titles: pa.Array
    docs: pa.Array
    query_pictures: pa.Array  # row in pictures, null for a text
    doc_pictures: pa.Array
    template: str = TITLE_FIRST  # how title and text become one text
    attribution: str = ""  # whose pictures these are, where their licence asks to say it
    more: Mapping[str, Source] = field(default_factory=dict)  # pictures, and the tables that the target's `needs` names

    @classmethod
    def read(
        cls, queries: Source, corpus: Source, more: Mapping[str, Source] | None = None, place: Path | None = None
    ) -> Texts:
        """The columns that exports need. `take` copies a column in several chunks each time, so each is made one chunk.

        They are in memory, or with a folder in `place` in files there that are mapped.
        """
        asked, found = (
            _columns(source, names, place / kind if place else None)
            for kind, source, names in (
                ("queries", queries, ("query_id", "text", "prompt", "picture")),
                ("corpus", corpus, ("doc_id", "title", "text", "picture")),
            )
        )
        columns = {
            "query_ids": asked["query_id"],
            "queries": asked["text"],
            "prompts": asked["prompt"],
            "doc_ids": found["doc_id"],
            "titles": found["title"],
            "docs": found["text"],
            "query_pictures": asked["picture"],
            "doc_pictures": found["picture"],
        }
        attribution = str(corpus.facts.get("attribution", ""))
        return cls(**columns, template=template_of(corpus.schema), attribution=attribution, more=more or {})

    def anchors(self, rows: np.ndarray, prompts: bool) -> pa.Array:
        """The text of each query row (n,), its own prompt in front where that is asked for. Raises InputError."""
        _within(rows, len(self.queries), "query")
        texts = self.queries.take(pa.array(rows)).cast(pa.string())
        _refuse_unusable("the text of a query", self.query_ids, rows, texts)
        if prompts:
            texts = pc.binary_join_element_wise(self._prompts(rows), texts, "")
        return texts

    def own_prompts(self, rows: np.ndarray) -> list[str]:
        """The prompt of each query row (n,); empty where it has none. Raises InputError."""
        return cast("list[str]", self._prompts(rows).to_pylist())

    def _prompts(self, rows: np.ndarray) -> pa.Array:
        prompts = self.prompts.take(pa.array(rows)).cast(pa.string()).fill_null("")
        _refuse_nul("the prompt of a query", self.query_ids, rows, prompts)
        return prompts

    def corpus(self) -> Iterator[np.ndarray]:
        """All rows of the corpus in order, in arrays of at most `BATCH`."""
        return _blocks(len(self.docs))

    def asked(self) -> Iterator[np.ndarray]:
        """All rows of the queries in order, in arrays of at most `BATCH`."""
        return _blocks(len(self.queries))

    def documents(self, rows: np.ndarray) -> pa.Array:
        """The text of each document row (n,), joined with its title where it has one. Raises InputError."""
        _within(rows, len(self.docs), "document")
        taken = pa.array(rows)
        titled = self.titles.null_count < len(self.titles) and self.titles.take(taken).null_count < len(rows)
        texts = self._joined(rows) if titled else self.docs.take(taken).cast(pa.string())
        _refuse_unusable("the text of a document", self.doc_ids, rows, texts)
        return texts

    def _joined(self, rows: np.ndarray) -> pa.Array:
        unique, back = np.unique(rows, return_inverse=True)
        pairs = zip(self.titles.take(unique).to_pylist(), self.docs.take(unique).to_pylist(), strict=True)
        return pa.array([join_title(title, text, self.template) for title, text in pairs], pa.string()).take(back)


def _blocks(rows: int) -> Iterator[np.ndarray]:
    return (np.arange(start, min(start + BATCH, rows)) for start in range(0, rows, BATCH))


def _columns(source: Source, names: Sequence[str], place: Path | None) -> dict[str, pa.Array]:
    if place is not None:
        return mapped(source, names, place)
    table = source.read(names)
    whole = {name: table.column(name).combine_chunks() for name in names}
    return {name: one.chunk(0) if isinstance(one, pa.ChunkedArray) else one for name, one in whole.items()}


def _within(rows: np.ndarray, known: int, kind: str) -> None:
    low, high = (int(rows.min()), int(rows.max())) if len(rows) else (0, -1)
    if not 0 <= low <= high + 1 <= known:
        raise ArtefactError(
            f"a triplet names a {kind} that is not there",
            got=f"row {high if high >= known else low} of {known}",
            try_="run sample again",
        )


def _refuse_unusable(kind: str, ids: pa.Array, rows: np.ndarray, texts: pa.Array) -> None:
    """Raises InputError for a text that no trainer can use. `ids` are those of all rows, `texts` those of `rows` (n,)."""
    _refuse(f"{kind} is blank", ids, rows[_blank(texts)])
    _refuse_nul(kind, ids, rows, texts)


def _blank(texts: pa.Array) -> np.ndarray:
    """Which texts have nothing but what Python calls white space: bool (n,)."""
    blank: np.ndarray = pc.or_(pc.utf8_is_space(texts), pc.equal(pc.binary_length(texts), 0)).to_numpy(
        zero_copy_only=False
    )
    return blank


def _refuse_nul(kind: str, ids: pa.Array, rows: np.ndarray, texts: pa.Array) -> None:
    offsets, values = np.frombuffer(texts.buffers()[1], np.int32), texts.buffers()[2]
    start, stop = offsets[texts.offset], offsets[texts.offset + len(texts)]
    if stop > start and not np.frombuffer(values, np.uint8)[start:stop].all():
        wrong = pc.match_substring(texts, "\0").to_numpy(zero_copy_only=False)
        _refuse(f"{kind} has a NUL character", ids, rows[wrong])


def _refuse(what: str, ids: pa.Array, rows: np.ndarray) -> None:
    if len(rows):
        wrong = np.unique(rows)
        named = ", ".join(f"'{shown(one)}'" for one in ids.take(pa.array(wrong[:NAMED])).to_pylist())
        more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise InputError(
            f"{what}, and no trainer can use it",
            where=f"id {named}{more}",
            try_="mend or remove it in the data that is ingested",
        )


def rebatched(source: Source, rows: int = BATCH) -> Iterator[pa.Table]:
    """The triplets in tables of exactly `rows` rows but the last, however many parts they are stored in."""
    return exactly((pa.Table.from_batches([batch]) for batch in source.batches(rows=rows)), rows)


def exactly(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The rows of tables in others of exactly `rows` rows but the last."""
    held: list[pa.Table] = []
    count = 0
    for one in tables:
        held.append(one)
        count += one.num_rows
        while count >= rows:
            table = pa.concat_tables(held)
            yield table.slice(0, rows)
            held, count = [table.slice(rows)], count - rows
    if count:
        yield pa.concat_tables(held)


def whole_groups(source: Source, keys: Sequence[str], rows: int = BATCH) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """The triplets in tables that end where a group ends, with the bounds (g + 1,) of the groups in each.

    A group is a run of rows with equal `keys`. A table has about `rows` rows, or as many as its one group.
    """
    held: list[pa.Table] = []
    for table in rebatched(source, rows):
        held.append(table)
        joined = pa.concat_tables(held)
        edges = bounds(joined, keys)
        held = [joined.slice(int(edges[-2]))]  # the last group may go on in the next table
        if len(edges) > 2:
            yield joined.slice(0, int(edges[-2])), edges[:-1]
    if held:
        joined = pa.concat_tables(held)
        yield joined, bounds(joined, keys)


def bounds(table: pa.Table, keys: Sequence[str]) -> np.ndarray:
    """Where runs of rows with equal integer `keys` begin, and the number of rows: int64 (g + 1,)."""
    changes = np.zeros(max(table.num_rows - 1, 0), dtype=bool)
    for key in keys:
        column = table.column(key).to_numpy()
        changes |= column[1:] != column[:-1]
    return np.concatenate(([0], np.flatnonzero(changes) + 1, [table.num_rows]))


def export(  # noqa: PLR0917
    member: Member,
    checked: Mapping[str, str],
    folder: Path,
    triplets: Source,
    write: Callable[[Counter[str]], tuple[int, tuple[str, ...]]],
    escaped: Counter[str] | None = None,
) -> Summary:
    """Runs `write` in the new `folder`, then describes in `export.json` what it wrote. Raises YieldError for no rows.

    `write` counts what it leaves out and returns the rows and the data files: reasons that begin with `negatives_` count
    triplets, and together all that are not in the data. What it had to change in texts it counts in `escaped`. `checked` gives the versions of the packages that the format was checked with.
    """
    if not triplets.rows:
        raise YieldError(f"{member.name}: there are no triplets to export", try_="loosen the filters of judge")
    folder.mkdir(parents=True)
    left_out: Counter[str] = Counter()
    rows, files = write(left_out)
    if not rows:
        found = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
        raise YieldError(
            f"{member.name}: nothing is left to export",
            got=found,
            try_=f"change or remove [export.targets.{member.name}]",
        )
    summary = Summary(rows, files, dict(sorted(left_out.items())), dict(sorted((escaped or {}).items())))
    config = member.semantic()
    described = {
        "target": member.name,
        "hardrock": _own_version(),
        "checked_with": dict(checked),
        "config": config,
        "config_sha256": hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest(),
        "rows": summary.rows,
        "triplets": triplets.rows,
        "left_out": summary.left_out,
        "escaped": summary.escaped,
        "files": {name: _described(folder / name) for name in (*files, "ids.parquet")},
    }
    (folder / "export.json").write_text(dumps(described, indent=2) + "\n", encoding="utf-8")
    return summary


def dumps(value: Any, indent: int | None = None) -> str:
    """JSON in UTF-8 without escapes that are not needed; NaN and infinity raise ValueError."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)


def _own_version() -> str:
    try:
        return version("hardrock")
    except PackageNotFoundError:
        return "not installed"


def _described(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def id_fields(*names: str, many: Sequence[str] = ()) -> pa.Schema:
    """A schema for `ids.parquet`: the named columns with their types in triplets, ids as strings; those in `many` are lists."""

    def kind(name: str) -> pa.DataType:
        single = name[:-1] if name in many else name
        if single.endswith("_id") or single == "sampler":
            return pa.string()
        return TRIPLETS.field(single).type

    return pa.schema([pa.field(n, pa.list_(kind(n)) if n in many else kind(n)) for n in names])
