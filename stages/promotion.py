"""False negatives that become positives: dropped candidates that a teacher calls strongly relevant.

A filter that looks at a teacher may say which candidates it would take for positives (`promotes`). One of those is
promoted when every row of its query drops it and it has no judgement: what a person called not relevant stays that. A
near-duplicate of a positive would teach
nothing new, and is left out: its words overlap too much with those of a positive of the query.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.arrays import coded
from stages.judging import KEPT, Candidates, spread
from stages.schemas import PROMOTED
from stages.spec import Source
from stages.teaching import take
from stages.text import joined, normalise
from stages.verdicts import Filter


class Promoting(Protocol):
    """A filter that looks at a teacher and can tell strongly relevant candidates."""

    @property
    def name(self) -> str: ...

    def promotes(self, candidates: Candidates) -> tuple[str, np.ndarray]:
        """The teacher's title, and which candidates are strongly relevant by it, bool (n,)."""
        ...


def promote(
    filters: Sequence[Filter],
    candidates: Candidates,
    judged: pa.Table,
    corpus: Source,
    held: pa.Table,
    *,
    overlap: float,
) -> pa.Table:
    """The rows of `promoted` for one part. `judged` has the rows of `candidates`; the first rule in order takes a candidate."""
    n = len(candidates.query_row)
    rule, taught, score = np.full(n, -1), np.full(n, -1), np.full(n, np.nan)
    titles = list(candidates.teachers)
    rules = [each for each in filters if hasattr(each, "promotes")]
    for place, each in enumerate(rules):
        title, chosen = each.promotes(candidates)
        fresh = chosen & (rule < 0)
        rule[fresh], taught[fresh] = place, titles.index(title)
        score[fresh] = candidates.teachers[title].score[fresh]
    keys = (candidates.query_row.astype(np.int64) << 32) + candidates.doc_row
    kept = pc.equal(judged["verdict"].cast(pa.string()), KEPT).to_numpy()
    free = (rule >= 0) & np.isnan(candidates.relevance) & ~np.isin(keys, keys[kept])
    free &= np.isnan(candidates.same_text_positive) & ~candidates.repeats_query
    row = np.flatnonzero(free)
    _, first = np.unique(keys[row], return_index=True)
    row = row[first]
    row = row[~_repeats(candidates.query_row[row], candidates.doc_row[row], corpus, held, overlap)]
    columns = [
        pa.array(candidates.query_row[row]),
        pa.array(candidates.doc_row[row]),
        coded(taught[row], titles),
        pa.array(score[row]),
        coded(rule[row], [each.name for each in rules]),
        pa.array(["relabelled"] * len(row), pa.string()),
    ]
    return pa.Table.from_arrays(columns, schema=PROMOTED)


def _repeats(query: np.ndarray, doc: np.ndarray, corpus: Source, held: pa.Table, overlap: float) -> np.ndarray:
    """Whether documents (m,) share too many words with a positive of their queries: bool (m,)."""
    owners, positives = held["query_row"].to_numpy(), held["positive_row"].to_numpy()
    start = np.searchsorted(owners, query)
    place, pair = spread(start, np.searchsorted(owners, query, "right") - start)
    one, other = doc[pair], positives[place]
    rows = np.union1d(one, other)
    texts = joined(take(corpus, ["title", "text"], rows)) if len(rows) else []
    similar = shared(texts, np.searchsorted(rows, one), np.searchsorted(rows, other)) >= overlap
    return np.bincount(pair[similar], minlength=len(query)) > 0


def shared(texts: Sequence[str], one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Words in common among all words of two texts (Jaccard), 0 to 1, for pairs of places in texts (p,): float64 (p,)."""
    split = pa.array([normalise(text).split() for text in texts], pa.list_(pa.string()))
    count = np.diff(split.offsets.to_numpy())
    coded_words = split.flatten().dictionary_encode()
    size = max(1, len(coded_words.dictionary))
    keys = np.unique(np.repeat(np.arange(len(texts)), count) * size + coded_words.indices.to_numpy())  # each word once
    starts = np.searchsorted(keys, np.arange(len(texts) + 1) * size)
    sizes = np.diff(starts)
    place, pair = spread(starts[one], sizes[one])
    wanted = other[pair] * size + keys[place] % size
    found = keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted if len(keys) else wanted == -1
    both = np.bincount(pair[found], minlength=len(one))
    return np.asarray(both / np.maximum(sizes[one] + sizes[other] - both, 1))
