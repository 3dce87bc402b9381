"""Judges candidates: what each is held against, and the first filter that drops it.

What is told here of one part of the candidates is told of all by the stage `judge`, and by whoever asks what other rules
would have done.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa

from stages.arrays import coded
from stages.errors import ArtefactError
from stages.judging import KEPT, Candidates, Documents, Known, Labels, ascending, distinct, numbers, spread
from stages.registry import build
from stages.schemas import CANDIDATES, EVIDENCE, JUDGED
from stages.spec import Inputs, Source
from stages.teacher_scores import PartScores


class Filter(Protocol):
    """A rule over candidates, one file in `filters/`."""

    @property
    def name(self) -> str: ...

    def semantic(self) -> dict[str, Any]: ...

    def label(self, candidates: Candidates) -> Labels:
        """Labels of n candidates. A rule that cannot be computed for one drops it."""
        ...


class Rules(Protocol):
    """What the candidates are held against, and the filters in order."""

    @property
    def comparison(self) -> str: ...

    @property
    def filters(self) -> tuple[Filter, ...]: ...


def judge(
    config: Rules,
    known: Known,
    found: pa.Table,
    held: pa.Table,
    where: str,
    *,
    documents: Documents | None = None,
    taught: PartScores | None = None,
) -> tuple[pa.Table, dict[str, int]]:
    """One part of the candidates, judged, and its counters. `held` are the positives of the same queries.

    `documents` may be left out where no filter asks for texts, vectors or counts, `taught` where none asks for a teacher.
    """
    _check(known, found, held, where)
    row, query, positive, score = _held_against(config.comparison, found, held)
    found = found if len(row) == found.num_rows else found.take(pa.array(row))
    del row
    candidates = Candidates(
        known,
        query,
        found["doc_row"].to_numpy(),
        found["rank"].to_numpy(),
        found["score"].to_numpy(),
        positive,
        score,
        documents,
        teachers=taught.beside(config.comparison, query, found["doc_row"].to_numpy(), positive, held) if taught else {},
    )
    verdict, evidence = _decide(config.filters, candidates)
    counts = np.bincount(verdict, minlength=len(config.filters) + 1)
    names = [KEPT, *(rule.name for rule in config.filters)]
    everyone = np.union1d(distinct(query), held["query_row"].to_numpy())
    kept = verdict == 0
    counters = {
        **{f"verdict.{name}": int(count) for name, count in zip(names, counts, strict=True)},
        "kept_with_negative_relevance": int(np.count_nonzero(kept & (candidates.relevance < 0))),
        "queries": len(everyone),
        "queries_without_kept": len(everyone) - len(distinct(query[kept])),
    }
    columns = [
        *(found[field] for field in CANDIDATES.names),
        pa.array(positive, pa.int32(), mask=positive < 0),
        _nullable(score),
        next((_nullable(each.score) for each in candidates.teachers.values()), pa.nulls(len(query), pa.float64())),
        coded(verdict, names),
        evidence,
    ]
    return pa.Table.from_arrays(columns, schema=JUDGED), counters


def view(
    comparison: str,
    known: Known,
    found: pa.Table,
    held: pa.Table,
    *,
    documents: Documents | None = None,
    taught: PartScores | None = None,
) -> Candidates:
    """One part of the candidates as the filters see it, in the order of `judge`. `held` are the positives of its queries."""
    row, query, positive, score = _held_against(comparison, found, held)
    doc, rank, own = (found[name].to_numpy()[row] for name in ("doc_row", "rank", "score"))
    teachers = taught.beside(comparison, query, doc, positive, held) if taught else {}
    return Candidates(known, query, doc, rank, own, positive, score, documents, teachers)


def rules_of(judged: Source) -> tuple[str, tuple[Filter, ...]]:
    """The comparison and the filters that made `judged`. Raises ArtefactError when it does not say."""
    facts = judged.facts
    if "comparison" not in facts or "filters" not in facts:
        raise ArtefactError("judged does not say by which rules", try_="judge again")
    tables = [dict(each) for each in facts["filters"]]
    return str(facts["comparison"]), tuple(cast(Filter, build("filters", t.pop("name"), t)) for t in tables)


def known_of(inputs: Inputs) -> Known:
    """What the qrels and the texts among a stage's inputs say."""
    qrels = inputs["qrels"].read(["query_row", "doc_row", "relevance"])
    return Known.of(
        inputs["queries"].read(["text_hash"])["text_hash"].to_numpy(),
        inputs["corpus"].read(["text_hash"])["text_hash"].to_numpy(),
        qrels["query_row"].to_numpy(),
        qrels["doc_row"].to_numpy(),
        qrels["relevance"].to_numpy(),
    )


def _check(known: Known, found: pa.Table, held: pa.Table, where: str) -> None:
    """Raises ArtefactError for rows that are out of order or outside of their table, as the −1 of a padded search is."""
    for table, column, size in (
        (found, "query_row", len(known.query_text)),
        (found, "doc_row", len(known.doc_text)),
        (held, "query_row", len(known.query_text)),
        (held, "positive_row", len(known.doc_text)),
    ):
        rows = table[column].to_numpy()
        if len(rows) and not 0 <= rows.min() <= rows.max() < size:
            raise ArtefactError(
                f"{column} lies outside of its table",
                where=where,
                got=f"{rows.min()} to {rows.max()} of {size}",
                try_="mine again",
            )
    for table, name, then in ((found, "candidates", "rank"), (held, "positives", "positive_row")):
        keys = (table["query_row"].to_numpy().astype(np.int64) << 32) + table[then].to_numpy()
        if not ascending(keys):
            raise ArtefactError(f"the {name} are not ordered by query_row and {then}", where=where, try_="mine again")


def _held_against(
    comparison: str, found: pa.Table, held: pa.Table
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pairs each candidate with what it is held against, in the order of the result.

    Returns the candidate's place in `found` int64 (n,), query_row int32 (n,), positive_row int32 (n,) with -1 for none,
    and the positive's score float64 (n,) with NaN where it is not known.
    """
    query = found["query_row"].to_numpy()
    starts = np.flatnonzero(np.concatenate([[True], query[1:] != query[:-1]])) if len(query) else np.empty(0, np.int64)
    counts = np.diff(np.append(starts, len(query)))
    owner = held["query_row"].to_numpy()
    positive = held["positive_row"].to_numpy()
    score = numbers(held["score"], np.nan)
    score = np.where(np.isfinite(score), score, np.nan)
    first, end = np.searchsorted(owner, query[starts], "left"), np.searchsorted(owner, query[starts], "right")
    if comparison == "least_positive":
        order = np.lexsort((positive, score, owner))  # NaN comes last, so it stands at the end of its query
        complete = ~np.isnan(np.append(score[order], np.nan))[end - 1] & (end > first)
        chosen = np.where(complete, np.append(order, -1)[first], -1)
    else:
        choices, run = spread(first, np.maximum(end - first, 1))
        chosen = np.where((end > first)[run], choices, -1)
        starts, counts = starts[run], counts[run]
    row, run = spread(starts, counts)  # the place -1 is that of "none", behind the last positive
    return row, query[row], np.append(positive, np.int32(-1))[chosen][run], np.append(score, np.nan)[chosen][run]


def _decide(filters: tuple[Filter, ...], candidates: Candidates) -> tuple[np.ndarray, pa.StructArray]:
    """The verdict int32 (n,), 0 for kept and else a filter's place from 1; and the evidence of the filter that decided."""
    n = len(candidates.query_row)
    verdict, rule = np.zeros(n, np.int32), np.zeros(n, np.int32)
    value, limit = np.full(n, np.nan), np.full(n, np.nan)
    for place, each in enumerate(filters):
        labels = each.label(candidates)
        undecided = verdict == 0
        np.copyto(rule, place, where=undecided)
        np.copyto(value, labels.value, where=undecided)
        np.copyto(limit, labels.limit, where=undecided)
        verdict[undecided & labels.drop] = place + 1
    names = [each.name for each in filters]
    return verdict, pa.StructArray.from_arrays(
        [coded(rule, names), _nullable(value), _nullable(limit)], fields=list(EVIDENCE)
    )


def _nullable(values: np.ndarray) -> pa.Array:
    """float64 (n,) as a column, with null for NaN."""
    return pa.array(values, pa.float64(), from_pandas=True)
