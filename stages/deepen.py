"""Searches deeper for the queries that keep too few candidates, and for these alone.

Candidates that lie too near the positive can fill the whole depth of the search; what can be kept then begins below it. Such
a query is searched on with the saved index, and what it has not found before is judged by the same rules, until every
(query, positive) pair has as many kept candidates as are wanted, or the limit is reached. The rows end with the candidate that
was wanted last. So they are the next rows of the full ranking, whatever the shards and the steps of the search.

It is a stage of its own, after judge: a changed margin needs another deepening, but no other search of all queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from stages.arrays import repeated
from stages.documents import StoredDocuments
from stages.errors import ArtefactError
from stages.fusion import Union
from stages.held import once
from stages.judging import Known, are_kept, numbers
from stages.schemas import CANDIDATES, FOUND_BY, JUDGED
from stages.scopes import Scopes
from stages.search import Corpus, gather, measured_depth, open_corpus
from stages.settings import Settings, speed
from stages.spec import Context, Inputs, Part, Shard, Spec
from stages.teacher_scores import PartScores, TeacherScores
from stages.verdicts import Filter, judge, known_of, rules_of

RETRIEVER = "dense"


class DeepenConfig(Settings):
    """How many candidates a pair should keep, and how deep to look for them."""

    wanted: int = Field(
        5,
        ge=1,
        description="kept candidates of a (query, positive) pair below which its query is searched deeper; left out, as many "
        "as sample.negatives asks for. Fewer are refused, more give a sampler that draws more to draw from",
    )
    limit: int = Field(
        500,
        ge=0,
        description="deepest rank of the saved index that is looked at, positives included; 0 never searches deeper. "
        "The cost grows with it, for the queries that keep too few. An approximate index is searched no deeper than its recall "
        "was measured (index.recall_depth)",
    )
    factor: float = speed(2.0, "how many times deeper each further search goes", gt=1)


@dataclass(frozen=True)
class _Rules:
    """The rules that judge went by."""

    comparison: str
    filters: tuple[Filter, ...]

    def within(self, limit: int) -> int:
        """The deepest rank that is worth a look: none below the last one that every filter can keep."""
        lasts = [cast(int | None, getattr(each, "deepest", None)) for each in self.filters]
        return min([limit, *(last for last in lasts if last is not None)])


def shards(config: DeepenConfig, inputs: Inputs) -> tuple[Shard, ...]:
    """One for each part of the judged candidates."""
    return tuple(Shard("judged", index) for index, _ in enumerate(inputs["judged"].parts))


SPEC = Spec(
    name="deepen",
    version=1,
    config=DeepenConfig,
    facts_of=("judged", "corpus.faiss", "teacher_scores"),
    inputs=(
        "corpus",
        "queries",
        "qrels",
        "corpus_vectors",
        "query_vectors",
        "corpus.faiss",
        "candidates",
        "positives",
        "teacher_scores",
        "judged",
    ),
    tables=("deepened",),
    shards=shards,
    resources=frozenset({"cpu", "memory"}),
)


def run(config: DeepenConfig, inputs: Inputs, context: Context) -> Iterator[Part]:
    """Yields `deepened` for each part of judged. Raises ArtefactError when its inputs do not belong together."""
    if not context.shards:
        return
    judged, positives = inputs["judged"], inputs["positives"]
    if "filters" not in judged.facts or len(judged.parts) != len(positives.parts):
        raise ArtefactError(
            "judged and positives do not belong together",
            where="deepen",
            got=f"{len(judged.parts)} parts and {len(positives.parts)} parts",
            try_="judge again",
        )
    rules = _Rules(*rules_of(judged))
    hungry = [_hungry(config, inputs, shard.index) for shard in context.shards]
    queries = [np.unique(pairs.query[pairs.need > 0]) for pairs in hungry]
    starved, fed = sum(len(rows) for rows in queries), 0
    limit = rules.within(min(config.limit, inputs["corpus_vectors"].rows))
    measured = measured_depth(inputs["corpus.faiss"])
    if measured is not None and measured < limit:
        context.log(
            f"searches no deeper than rank {measured}, where the index's recall was measured, and not to {limit}"
        )
        limit = measured
    deep = cache(
        lambda: once(context, "corpus", lambda: _Deep.open(inputs, rules))
    )  # for the first query that needs it
    vectors, teachers = gather(inputs["query_vectors"], queries), TeacherScores.of(inputs)
    with context.progress("deepen", starved) as bar:
        for shard, pairs, rows in zip(context.shards, hungry, queries, strict=True):
            table, counters = JUDGED.empty_table(), _counted(0, 0, 0)
            if limit:
                taught, asked = teachers.part(shard.index), next(vectors)
                starving = _Starved.of(inputs, taught, shard.index, rows=rows, vectors=asked, pairs=pairs)
                table, counters = _deepen(deep, starving, limit, config.factor)
            fed += counters["queries.fed"]
            yield Part(shard, {"deepened": table}, counters={"queries.starved": len(rows), **counters})
            bar.advance(len(rows))
    if starved:
        context.log(
            f"{starved:,} queries keep fewer than {config.wanted} candidates; searched down to rank {limit}, "
            f"{fed:,} of them get as many"
        )


@dataclass(frozen=True)
class _Pairs:
    """What negatives are chosen for: with the least positive a query is one pair, else it has one for each positive."""

    query: np.ndarray  # int32 (p,), ascending
    key: np.ndarray  # int64 (p,), ascending
    need: np.ndarray  # int64 (p,), how many kept candidates are missing

    def of(self, rows: np.ndarray) -> _Pairs:
        """The pairs of the queries `rows` (r,)."""
        chosen = np.isin(self.query, rows)
        return _Pairs(self.query[chosen], self.key[chosen], self.need[chosen])


def _keys(comparison: str, query: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """The pair that a row belongs to: int64 (n,)."""
    key = query.astype(np.int64) << 32
    return key if comparison == "least_positive" else key | positive


def _hungry(config: DeepenConfig, inputs: Inputs, index: int) -> _Pairs:
    """The pairs of a part and what they lack."""
    judged, positives = inputs["judged"], inputs["positives"]
    comparison = judged.facts["comparison"]
    held = positives.read(["query_row", "positive_row"], part=positives.parts[index])
    key, first = np.unique(
        _keys(comparison, held["query_row"].to_numpy(), held["positive_row"].to_numpy()), return_index=True
    )
    found = judged.read(["query_row", "positive_row", "verdict"], part=judged.parts[index])
    keys = _kept_keys(comparison, found.filter(are_kept(found["verdict"])))
    had = np.searchsorted(keys, key, "right") - np.searchsorted(keys, key, "left")
    return _Pairs(held["query_row"].to_numpy()[first], key, np.maximum(config.wanted - had, 0))


def _kept_keys(comparison: str, kept: pa.Table) -> np.ndarray:
    return _keys(comparison, kept["query_row"].to_numpy(), numbers(kept["positive_row"], -1))


@dataclass(frozen=True)
class _Deep:
    """What is searched and by which rules it is judged."""

    rules: _Rules
    known: Known
    documents: StoredDocuments
    corpus: Corpus
    scopes: Scopes

    @classmethod
    def open(cls, inputs: Inputs, rules: _Rules) -> _Deep:
        corpus = open_corpus(inputs["corpus_vectors"], inputs["corpus.faiss"])
        return cls(rules, known_of(inputs), StoredDocuments(inputs), corpus, Scopes.of(inputs))


@dataclass(frozen=True)
class _Starved:
    """The s queries of a part that are searched deeper."""

    where: str
    taught: PartScores  # of the candidates that teachers have scored: none that is searched for here
    rows: np.ndarray  # int32 (s,), rows in queries, ascending
    vectors: np.ndarray  # float32 (s, d)
    pairs: _Pairs
    held: pa.Table  # the positives of these queries
    found: np.ndarray  # int64, pairs of query and document that were judged before, ascending
    deepest: np.ndarray  # int64 (s,), the last rank that was judged before, 0 for none
    fused: bool  # whether candidates say which retrievers found them

    @classmethod
    def of(
        cls, inputs: Inputs, taught: PartScores, index: int, *, rows: np.ndarray, vectors: np.ndarray, pairs: _Pairs
    ) -> _Starved:
        judged, positives = inputs["judged"], inputs["positives"]
        part = judged.read(["query_row", "doc_row", "rank", "found_by"], part=judged.parts[index])
        fused = part["found_by"].null_count < part.num_rows
        query = part["query_row"].to_numpy()
        mine = np.isin(query, rows)
        query, document, rank = query[mine], part["doc_row"].to_numpy()[mine], part["rank"].to_numpy()[mine]
        deepest = np.zeros(len(rows), dtype=np.int64)
        np.maximum.at(deepest, np.searchsorted(rows, query), rank)
        held = positives.read(["query_row", "positive_row", "score"], part=positives.parts[index])
        held = held.filter(pa.array(np.isin(held["query_row"].to_numpy(), rows)))
        found = np.unique((query.astype(np.int64) << 32) | document)
        return cls(str(index), taught, rows, vectors, pairs.of(rows), held, found, deepest, fused)


def _deepen(deep: Callable[[], _Deep], starved: _Starved, limit: int, factor: float) -> tuple[pa.Table, dict[str, int]]:
    """The rows that are added for the starved queries, in the order of judged, and what was counted."""
    todo, depth = np.arange(len(starved.rows)), int(starved.deepest.max(initial=0))
    if starved.fused:  # a fused rank says little about how deep the index was searched
        depth = min(depth, int(limit / factor))
    tables, fed = [JUDGED.empty_table()], 0
    while len(todo) and depth < limit:
        depth = min(limit, max(depth + 1, int(depth * factor)))
        table = _judged(deep(), starved, todo, depth)
        upto = _enough(deep().rules.comparison, table, starved.pairs.of(starved.rows[todo]), starved.rows[todo])
        fed += int(np.isfinite(upto).sum())
        done = np.isfinite(upto) | (depth == limit)
        last = np.where(done, upto, 0)[np.searchsorted(starved.rows[todo], table["query_row"].to_numpy())]
        tables.append(table.filter(pa.array(table["rank"].to_numpy() <= last)))
        todo = todo[~done]
    every = pa.concat_tables(tables)
    query, positive = every["query_row"].to_numpy(), numbers(every["positive_row"], -1)
    every = every.take(pa.array(np.lexsort((positive, query))))  # which keeps the order of the ranks
    return every, _counted(every.num_rows, pc.sum(are_kept(every["verdict"])).as_py() or 0, fed)


def _counted(candidates: int, kept: int, fed: int) -> dict[str, int]:
    return {"candidates": candidates, "kept": kept, "queries.fed": fed}


def _judged(deep: _Deep, starved: _Starved, todo: np.ndarray, depth: int) -> pa.Table:
    """What is new among the `depth` best of the queries at the places `todo` (t,), judged."""
    hits = deep.scopes.search(
        deep.corpus,
        starved.vectors[todo],
        starved.rows[todo],
        depth,
        lambda corpus, vectors: corpus.search(vectors, depth),
    )
    place, column = np.nonzero(hits.rows >= 0)
    document, row = hits.rows[place, column], starved.rows[todo][place]
    new = ~np.isin((row.astype(np.int64) << 32) | document, starved.found)
    place, column, document, row = place[new], column[new], document[new], row[new]
    counted = np.arange(len(place)) - np.searchsorted(place, place) + 1
    found = pa.table(
        [
            pa.array(row, pa.int32()),
            pa.array(document, pa.int32()),
            pa.array(starved.deepest[todo][place] + counted, pa.int32()),
            pa.array(hits.scores[place, column], pa.float64()),
            repeated(RETRIEVER, len(place)),
            _found_by(column + 1, hits.scores[place, column]) if starved.fused else pa.nulls(len(place), FOUND_BY),
        ],
        schema=CANDIDATES,
    )
    held = starved.held.filter(pa.array(np.isin(starved.held["query_row"].to_numpy(), starved.rows[todo])))
    where = f"deepen, part {starved.where}"
    return judge(deep.rules, deep.known, found, held, where, documents=deep.documents, taught=starved.taught)[0]


def _found_by(rank: np.ndarray, score: np.ndarray) -> pa.ListArray:
    """The column `found_by` of hits of the saved index alone, from ranks (n,) and scores (n,)."""
    n = len(rank)
    hits = Union(np.zeros(n), np.zeros(n), rank.astype(np.int32)[:, None], score[:, None])
    return hits.found_by(np.arange(n), [RETRIEVER])


def _enough(comparison: str, table: pa.Table, pairs: _Pairs, rows: np.ndarray) -> np.ndarray:
    """The rank at which each query (t,) has all that its pairs need, float64 (t,); infinite where that is not reached."""
    enough = table.filter(are_kept(table["verdict"]))
    keys, rank = _kept_keys(comparison, enough), enough["rank"].to_numpy().astype(np.float64)
    first = np.searchsorted(keys, pairs.key, "left")
    got = np.searchsorted(keys, pairs.key, "right") - first
    place = np.where(got >= pairs.need, first + pairs.need - 1, len(rank))
    reached = np.where(pairs.need > 0, np.append(rank, np.inf)[place], 0.0)
    upto = np.zeros(len(rows))
    np.maximum.at(upto, np.searchsorted(rows, pairs.query), reached)
    return upto
