"""What one round mined: how many candidates each filter took, where the scores lie, and what a query got."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.reports.charts import Step
from stages.spec import Source

KEPT = "kept"
BINS = 48


@dataclass(frozen=True)
class Candidate:
    """A document beside a query: a positive, or a judged candidate."""

    doc_row: int
    score: float | None
    rank: int | None
    verdict: str = "positive"
    positive_score: float | None = None
    rule: str | None = None
    value: float | None = None
    limit: float | None = None
    sampled: bool = False


@dataclass(frozen=True)
class Shown:
    """What a query got in one round, in the order of the ranks."""

    positives: list[Candidate] = field(default_factory=list)
    kept: list[Candidate] = field(default_factory=list)
    dropped: list[Candidate] = field(default_factory=list)
    more: Mapping[str, int] = field(default_factory=dict)
    """How many of each list were left out by `within`."""

    def within(self, count: int) -> Shown:
        """With at most `count` in each list: the first by rank, sampled ones before others."""
        first = {
            name: sorted(sorted(each, key=lambda c: not c.sampled)[:count], key=_by_rank)
            for name, each in (("positives", self.positives), ("kept", self.kept), ("dropped", self.dropped))
        }
        return Shown(**first, more={name: len(getattr(self, name)) - len(each) for name, each in first.items()})


def _by_rank(candidate: Candidate) -> tuple[bool, int]:
    return candidate.rank is None, candidate.rank or 0


@dataclass(frozen=True)
class Mined:
    """Figures of one round of mining."""

    candidates: int
    steps: list[Step]
    verdicts: dict[str, int]
    triplets: int
    pairs: int
    short: int
    edges: np.ndarray  # float64 (BINS + 1,)
    scores: dict[str, np.ndarray]  # positives, kept, dropped: int64 (BINS,)
    kept_per_query: np.ndarray  # int64 (queries,), of the queries that have a positive or a candidate
    sampled_per_pair: np.ndarray  # int64 (most + 1,), pairs by the number of negatives they got


def read(inputs: Mapping[str, Source], queries: int) -> Mined:
    """The figures of a round from its tables, in batches; `queries` is the number of rows in queries."""
    judged, positives, triplets = inputs["judged"], inputs["positives"], inputs["triplets"]
    bins = edges([judged, positives])
    scores = {name: np.zeros(BINS, dtype=np.int64) for name in ("positives", "kept", "dropped")}
    verdicts: Counter[str] = Counter()
    kept_per_query, seen = np.zeros(queries, dtype=np.int64), np.zeros(queries, dtype=bool)
    for batch in positives.batches(["query_row", "score"]):
        seen[batch.column("query_row").to_numpy()] = True
        scores["positives"] += np.histogram(_numbers(batch.column("score")), bins)[0]
    for table in whole_queries(judged, ["query_row", "doc_row", "score", "verdict"]):
        names = table.column("verdict").cast(pa.string())
        verdicts.update({row["values"]: row["counts"] for row in pc.value_counts(names).to_pylist()})
        kept = pc.equal(names, KEPT).to_numpy()
        values, query = table.column("score").to_numpy(), table.column("query_row").to_numpy()
        seen[query] = True
        scores["kept"] += np.histogram(values[kept], bins)[0]
        scores["dropped"] += np.histogram(values[~kept], bins)[0]
        # Held against each positive apart, a document stands in several rows of its query.
        pairs = distinct(query[kept], table.column("doc_row").to_numpy()[kept])
        kept_per_query += np.bincount((pairs >> 32).astype(np.int64), minlength=queries)
    chosen = triplets.read(["query_row", "positive_row", "negative_row"])
    query, positive, negative = (column.to_numpy() for column in chosen.columns)
    sampled = chosen.num_rows if _per_positive(judged) else len(distinct(query, negative))
    got = np.unique(key(query, positive), return_counts=True)[1]
    sampled_per_pair = np.bincount(got, minlength=1)
    without = int(np.count_nonzero(inputs["shortfall"].read(["got"])["got"].to_numpy() == 0))
    sampled_per_pair[0] = without
    filters = _order(judged, verdicts)
    return Mined(
        candidates=judged.rows,
        steps=_steps(judged.rows, verdicts, filters, sampled),
        verdicts={name: verdicts[name] for name in [*filters, KEPT]},
        triplets=triplets.rows,
        pairs=len(got) + without,
        short=inputs["shortfall"].rows,
        edges=bins,
        scores=scores,
        kept_per_query=kept_per_query[seen],
        sampled_per_pair=sampled_per_pair,
    )


def choose(positives: Source, count: int, seed: int) -> list[int]:
    """Rows of `count` queries that were mined, or of all, by a seeded draw; ascending."""
    found = [np.unique(batch.column("query_row").to_numpy()) for batch in positives.batches(["query_row"])]
    rows = np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int32)
    drawn = np.random.default_rng(seed).choice(rows, min(count, len(rows)), replace=False)
    return sorted(drawn.tolist())


def show(inputs: Mapping[str, Source], rows: Sequence[int]) -> dict[int, Shown]:
    """What each of these queries got in a round."""
    shown = {row: Shown() for row in rows}
    wanted = pa.array(rows, pa.int32())
    held = _per_positive(inputs["judged"])
    sampled = {
        (row["query_row"], row["positive_row"] if held else None, row["negative_row"])
        for row in _rows(inputs["triplets"], ["query_row", "positive_row", "negative_row"], wanted)
    }
    for row in _rows(inputs["positives"], ["query_row", "positive_row", "score", "rank"], wanted):
        shown[row["query_row"]].positives.append(Candidate(row["positive_row"], row["score"], row["rank"]))
    columns = ["query_row", "doc_row", "rank", "score", "positive_row", "positive_score", "verdict", "evidence"]
    for row in _rows(inputs["judged"], columns, wanted):
        kept = row["verdict"] == KEPT
        key = (row["query_row"], row["positive_row"] if held else None, row["doc_row"])
        names = ("doc_row", "score", "rank", "verdict", "positive_score")
        candidate = Candidate(**{n: row[n] for n in names}, **row["evidence"], sampled=kept and key in sampled)
        (shown[row["query_row"]].kept if kept else shown[row["query_row"]].dropped).append(candidate)
    for side in shown.values():
        for each in (side.positives, side.kept, side.dropped):
            each.sort(key=_by_rank)
    return shown


def _per_positive(judged: Source) -> bool:
    return bool(judged.facts.get("comparison") == "per_positive")


def _rows(source: Source, columns: Sequence[str], queries: pa.Array) -> Iterator[dict[str, Any]]:
    for batch in source.batches(columns):
        yield from batch.filter(pc.is_in(batch.column("query_row"), queries)).to_pylist()


def edges(sources: Sequence[Source]) -> np.ndarray:
    """Bin edges from the lowest to the highest score, float64 (BINS + 1,)."""
    low, high = np.inf, -np.inf
    for source in sources:
        for batch in source.batches(["score"]):
            values = _numbers(batch.column("score"))
            low, high = min(low, values.min(initial=np.inf)), max(high, values.max(initial=-np.inf))
    if not low < high:
        low, high = (low - 0.5, high + 0.5) if np.isfinite(low) else (0.0, 1.0)
    return np.linspace(low, high, BINS + 1)


def _numbers(column: pa.Array) -> np.ndarray:
    values = column.drop_null().to_numpy(zero_copy_only=False)
    return np.asarray(values[np.isfinite(values)])


def whole_queries(judged: Source, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Batches of a table ordered by query_row, cut so that no query lies in two."""
    held: list[pa.RecordBatch] = []
    for batch in judged.batches(columns):
        query = batch.column("query_row").to_numpy()
        if not len(query):
            continue
        border = int(np.searchsorted(query, query[-1]))
        if border or (held and held[-1].column("query_row")[-1].as_py() != query[-1]):
            yield pa.Table.from_batches([*held, batch.slice(0, border)])
            held = []
        held.append(batch.slice(border))
    if held:
        yield pa.Table.from_batches(held)


def key(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left.astype(np.int64) << 32) | right.astype(np.int64)


def distinct(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.unique(key(left, right))


def _order(judged: Source, verdicts: Mapping[str, int]) -> list[str]:
    """The filters in the order in which they judged, where judge says it, then any others by name."""
    listed = [each["name"] for each in judged.facts.get("filters", ())]
    return [*listed, *sorted(set(verdicts) - {*listed, KEPT})]


def _steps(candidates: int, verdicts: Mapping[str, int], filters: Sequence[str], sampled: int) -> list[Step]:
    steps, left = [Step("candidates", candidates, candidates)], candidates
    for name in filters:
        steps.append(Step(name, left, left - verdicts.get(name, 0)))
        left = steps[-1].after
    return [*steps, Step("kept", left, left), Step("sampled", left, sampled, "unused")]
