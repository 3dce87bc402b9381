"""What a person should look at first: near misses among the kept, hub documents, duplicates and leaks, and the distances."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup, escape

from stages.reports.mining import KEPT, distinct
from stages.spec import Inputs, Source

BINS = 48
GAPS = (-0.5, 1.0)
"""Gaps outside of this range are counted and not drawn."""

_WORD = re.compile(r"\w+")
_SHORTEST = 3
"""Letters of the shortest word that counts as shared: articles and the like say nothing."""


@dataclass(frozen=True)
class Distances:
    """Ranks and gaps of kept and dropped candidates. A gap is (p - s)/|p|: how far a score s is below its positive's p."""

    gap_edges: np.ndarray  # float64 (BINS + 1,)
    gaps: Mapping[str, np.ndarray]  # kept, dropped: int64 (BINS,)
    outside: int
    """Candidates whose gap is not drawn: beyond the range, or without a positive's score."""
    rank_edges: np.ndarray  # float64 (bins + 1,)
    ranks: Mapping[str, np.ndarray]  # kept, dropped: int64 (bins,)


@dataclass(frozen=True)
class Hub:
    """A document that is a negative of many queries."""

    doc_row: int
    kept: int
    """Queries that keep it."""
    sampled: int
    """Queries that train with it."""


@dataclass(frozen=True)
class Check:
    """A count of what should not be there, or should be known."""

    says: str
    count: int
    of: int
    harmless: bool = False
    """Whether it is for information: a count above zero is then no fault."""


def distances(judged: Source) -> Distances:
    """Two passes over the candidates: the deepest rank, then the counts."""
    deepest = max((pc.max(b.column("rank")).as_py() or 1 for b in judged.batches(["rank"])), default=1)
    width = -(-deepest // BINS)
    rank_edges = 0.5 + width * np.arange(-(-deepest // width) + 1, dtype=np.float64)
    gap_edges = np.linspace(*GAPS, BINS + 1)
    near = {name: np.zeros(BINS, np.int64) for name in ("kept", "dropped")}
    ranks = {name: np.zeros(len(rank_edges) - 1, np.int64) for name in ("kept", "dropped")}
    for batch in judged.batches(["rank", "score", "positive_score", "verdict"]):
        kept = _kept(batch)
        gap = gaps(batch)
        for name, mask in (("kept", kept), ("dropped", ~kept)):
            near[name] += np.histogram(gap[mask & np.isfinite(gap)], gap_edges)[0]
            ranks[name] += np.histogram(batch.column("rank").to_numpy()[mask], rank_edges)[0]
    drawn = sum(int(counts.sum()) for counts in near.values())
    return Distances(gap_edges, near, judged.rows - drawn, rank_edges, ranks)


def hubs(judged: Source, triplets: Source, documents: int, count: int) -> list[Hub]:
    """The documents that most queries keep, the most first; only those that more than one query keeps."""
    kept = _queries_by_document(judged, "doc_row", documents)
    sampled = _queries_by_document(triplets, "negative_row", documents)
    order = np.lexsort((np.arange(documents), -kept))[:count]
    return [Hub(int(row), int(kept[row]), int(sampled[row])) for row in order if kept[row] > 1]


def checks(inputs: Inputs, triplets: Source | None) -> list[Check]:
    """Duplicates and leaks of the data, and what the triplets of the last mined round make of them."""
    corpus = _column(inputs["corpus"], "text_hash")
    queries = _column(inputs["queries"], "text_hash")
    splits = pa.chunked_array([b.column("split") for b in inputs["queries"].batches(["split"])], pa.string())
    train = pc.equal(splits, "train").to_numpy(zero_copy_only=False)
    relevant = [
        batch.filter(pc.greater(batch.column("relevance"), 0))
        for batch in inputs["qrels"].batches(["query_row", "doc_row", "relevance"])
    ]
    left = np.concatenate([b.column("query_row").to_numpy() for b in relevant] or [np.empty(0, np.int32)])
    right = np.concatenate([b.column("doc_row").to_numpy() for b in relevant] or [np.empty(0, np.int32)])
    both = np.intersect1d(right[train[left]], right[~train[left]])
    held_out = queries[~train]
    found = [
        Check("documents with the text of another document", _repeated(corpus), len(corpus)),
        Check("queries with the text of another query", _repeated(queries), len(queries)),
        Check(
            "held-out queries with the text of a training query",
            int(np.isin(held_out, queries[train]).sum()),
            len(held_out),
        ),
        Check("documents relevant to training and to held-out queries", len(both), len(np.unique(right)), True),
    ]
    if triplets is not None:
        table = triplets.read(["query_row", "negative_row"])
        query, negative = (column.to_numpy() for column in table.columns)
        pairs = distinct(query, negative)
        known = distinct(left, right)
        same = np.unique(np.stack([left.astype(np.int64), corpus[right]], 1), axis=0)
        found += [
            Check("training negatives that are relevant to their query", int(np.isin(pairs, known).sum()), len(pairs)),
            Check("training negatives with the text of a relevant document", _shared(pairs, same, corpus), len(pairs)),
        ]
    return found


def overlap(text: str, other: str) -> Markup:
    """The text, escaped, with the words that the other text has too in <mark>."""
    shared = {w for w in _words(other) if len(w) >= _SHORTEST}
    parts, at = [], 0
    for match in _WORD.finditer(text):
        if match[0].casefold() in shared:
            parts.append(escape(text[at : match.start()]) + Markup("<mark>") + match[0] + Markup("</mark>"))
            at = match.end()
    return Markup("").join([*parts, escape(text[at:])])


def _words(text: str) -> Iterator[str]:
    return (match[0].casefold() for match in _WORD.finditer(text))


def _kept(batch: pa.RecordBatch | pa.Table) -> np.ndarray:
    return np.asarray(pc.equal(batch.column("verdict").cast(pa.string()), KEPT))


def gaps(batch: pa.RecordBatch | pa.Table) -> np.ndarray:
    """float64 (rows,), NaN where there is no positive's score or it is zero."""
    positive = np.asarray(batch.column("positive_score"), dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((positive - batch.column("score").to_numpy()) / np.abs(positive))


def _queries_by_document(source: Source, column: str, documents: int) -> np.ndarray:
    """int64 (documents,): different queries that keep, or train with, each document."""
    columns = ["query_row", column] + (["verdict"] if column == "doc_row" else [])
    pairs = []
    for batch in source.batches(columns):
        query, document = (batch.column(name).to_numpy() for name in columns[:2])
        mask = _kept(batch) if column == "doc_row" else slice(None)
        pairs.append(distinct(query[mask], document[mask]))
    rows = np.unique(np.concatenate(pairs)) & 0xFFFFFFFF if pairs else np.empty(0, np.int64)
    return np.bincount(rows.astype(np.int64), minlength=documents)


def _column(source: Source, name: str) -> np.ndarray:
    found = [batch.column(name).to_numpy() for batch in source.batches([name])]
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _repeated(hashes: np.ndarray) -> int:
    """Rows whose hash an earlier row has."""
    return len(hashes) - len(np.unique(hashes))


def _shared(pairs: np.ndarray, same: Sequence[Sequence[int]] | np.ndarray, corpus: np.ndarray) -> int:
    """Pairs of a query and a document whose text is that of a relevant document of the query."""
    known = {(int(query), int(text)) for query, text in same}
    return sum((int(p) >> 32, int(corpus[int(p) & 0xFFFFFFFF])) in known for p in pairs)
