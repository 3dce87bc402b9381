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
from stages.judging import KEPT, Candidates
from stages.schemas import PROMOTED
from stages.spec import Source
from stages.teaching import documents, take
from stages.text import normalise
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
    owners = held["query_row"].to_numpy()
    mine = np.isin(owners, query)
    positives: dict[int, list[int]] = {int(each): [] for each in query}
    for owner, positive in zip(owners[mine], held["positive_row"].to_numpy()[mine], strict=True):
        positives[int(owner)].append(int(positive))
    rows = np.unique(np.array([*doc, *(each for many in positives.values() for each in many)], dtype=np.int64))
    texts = documents(take(corpus, ["title", "text"], rows)) if len(rows) else []
    words = {int(row): frozenset(normalise(text).split()) for row, text in zip(rows, texts, strict=True)}
    return np.array(
        [
            any(shared(words[int(d)], words[positive]) >= overlap for positive in positives[int(q)])
            for q, d in zip(query, doc, strict=True)
        ],
        dtype=bool,
    )


def shared(one: frozenset[str], other: frozenset[str]) -> float:
    """Words in common among all words of two texts (Jaccard), 0 to 1."""
    return len(one & other) / max(len(one | other), 1)
