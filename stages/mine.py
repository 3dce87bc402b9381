"""Searches the saved index for each query of a split and scores the query's positives.

With an exact index the candidates are those of a float64 search over all documents (see stages.search). Positives are
scored directly from their vectors, by the same sum as the candidates, and never looked up among the hits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from stages.arrays import repeated
from stages.errors import YieldError
from stages.schemas import CANDIDATES, POSITIVES
from stages.search import (
    Searcher,
    certified_search,
    check_depth,
    gather,
    load_vectors,
    longest,
    open_index,
    score_pairs,
)
from stages.settings import Settings, speed
from stages.spec import Context, Inputs, Part, Shard, Source, Spec, cut

RETRIEVER = "dense"


class MineConfig(Settings):
    """How deep to search, and for which queries."""

    depth: int = Field(
        100,
        ge=1,
        description="candidates a query, positives included; time and the size of what is written grow with it",
    )
    split: str = Field("train", description="split whose queries are mined")
    shard_queries: int = Field(
        4_096, ge=1, description="queries a shard, which is what a kill can lose; below 4,096 the search gets slower"
    )
    block_queries: int = speed(
        4_096, "queries a call of the index; memory grows with it, and small calls are many times slower", ge=1
    )


@dataclass(frozen=True)
class _Plan:
    """The queries to mine and their positives."""

    queries: np.ndarray  # int64 (m,), rows in queries, ascending
    offsets: np.ndarray  # int64 (m + 1,), where each query's positives begin
    positives: np.ndarray  # int64, rows in corpus, ascending for each query
    without: int = 0  # queries of the split without a positive

    def part(self, shard: Shard) -> _Plan:
        """The queries of a shard with their positives."""
        offsets = self.offsets[shard.start : shard.stop + 1]
        return _Plan(
            self.queries[shard.start : shard.stop], offsets - offsets[0], self.positives[offsets[0] : offsets[-1]]
        )


def _plan(config: MineConfig, inputs: Inputs) -> _Plan:
    table = inputs["queries"].read(["row", "split"])
    of_split = np.sort(
        table.filter(pc.equal(table.column("split"), config.split)).column("row").to_numpy().astype(np.int64)
    )
    qrels = inputs["qrels"].read(["query_row", "doc_row", "relevance"])
    query, document, relevance = (qrels.column(name).to_numpy().astype(np.int64) for name in qrels.column_names)
    used = (relevance > 0) & np.isin(query, of_split)
    pairs = np.unique(np.stack([query[used], document[used]], axis=1), axis=0)
    queries, counts = np.unique(pairs[:, 0], return_counts=True)
    if not len(queries):
        splits = Counter(table.column("split").to_pylist())
        raise YieldError(
            f"no query of the split {config.split!r} has a positive",
            where="mine.split",
            got="queries by split: "
            + (", ".join(f"{name} {count}" for name, count in sorted(splits.items())) or "none"),
            try_="another split, or qrels with a relevance above 0",
        )
    return _Plan(queries, np.concatenate([[0], np.cumsum(counts)]), pairs[:, 1], len(of_split) - len(queries))


def shards(config: MineConfig, inputs: Inputs) -> tuple[Shard, ...]:
    """Shards of the list of queries that are mined. Raises YieldError when there are none."""
    return cut("queries", len(_plan(config, inputs).queries), config.shard_queries)


SPEC = Spec(
    name="mine",
    version=1,
    config=MineConfig,
    facts_of=("corpus.faiss",),
    inputs=("queries", "qrels", "corpus_vectors", "query_vectors", "corpus.faiss"),
    tables=("candidates", "positives"),
    shards=shards,
    resources=frozenset({"cpu", "memory"}),
)


def run(config: MineConfig, inputs: Inputs, context: Context) -> Iterator[Part]:
    """Yields candidates and positives of each shard. Raises ArtefactError when index and vectors do not belong together."""
    if not context.shards:
        return
    plan = _plan(config, inputs)
    check_depth(inputs["corpus.faiss"], config.depth)
    corpus = _Corpus.open(inputs["corpus_vectors"], inputs["corpus.faiss"])
    depth = min(config.depth, len(corpus.vectors))
    if depth < config.depth:
        context.log(f"the depth is {depth}, all documents there are, and not {config.depth}")
    if plan.without:
        context.log(f"{plan.without} queries of the split {config.split!r} have no positive and are not mined")
    final = (len(plan.queries) - 1) // config.shard_queries
    deepened = 0
    with context.progress("mine", sum(s.stop - s.start for s in context.shards)) as bar:
        parts = [plan.part(shard) for shard in context.shards]
        gathered = gather(inputs["query_vectors"], [part.queries for part in parts])
        for shard, part, vectors in zip(context.shards, parts, gathered, strict=True):
            tables, counters = _mine(corpus, part, vectors, depth, config.block_queries)
            deepened += counters["deepened"]
            if shard.index == 0:
                counters["queries.without_positives"] = plan.without
            counters["clamped"] = len(part.queries) if depth < config.depth else 0
            facts = {"depth": depth, "split": config.split, "retriever": RETRIEVER, "exact": corpus.exact}
            bar.advance(len(part.queries))
            yield Part(shard, tables=tables, counters=counters, facts=facts if shard.index == final else {})
    if deepened:
        context.log(f"{deepened} queries were searched deeper to settle which documents share the last rank")


@dataclass(frozen=True)
class _Corpus:
    """What is searched: an index and the vectors that it was built from."""

    vectors: np.ndarray  # float32 (n, d)
    longest: float
    searcher: Searcher
    exact: bool

    @classmethod
    def open(cls, vectors: Source, index: Source) -> _Corpus:
        values = load_vectors(vectors, index)
        searcher, exact = open_index(index, *values.shape)
        return cls(values, longest(values), searcher, exact)


def _mine(
    corpus: _Corpus, plan: _Plan, vectors: np.ndarray, depth: int, block_queries: int
) -> tuple[dict[str, pa.Table], dict[str, int]]:
    """Candidates and positives of the plan's queries, whose vectors are (m, d), and what was counted."""
    rows, positives = plan.queries, plan.positives
    blocks = []
    for start in range(0, len(rows), block_queries):
        part = vectors[start : start + block_queries]
        found = certified_search(
            corpus.searcher, part, corpus.vectors, depth, corpus.exact, longest_document=corpus.longest
        )
        blocks.append(found)
    hits = np.concatenate([block.rows for block in blocks])  # int32 (m, k)
    scores = np.concatenate([block.scores for block in blocks])  # float64 (m, k)
    query, rank = np.nonzero(hits >= 0)
    document = hits[query, rank]
    candidates = pa.table(
        [
            pa.array(rows[query], pa.int32()),
            pa.array(document, pa.int32()),
            pa.array(rank + 1, pa.int32()),
            pa.array(scores[query, rank], pa.float64()),
            repeated(RETRIEVER, len(query)),
        ],
        schema=CANDIDATES,
    )
    owner = np.repeat(np.arange(len(rows)), np.diff(plan.offsets))
    ranks = _ranks(hits, owner, positives, len(corpus.vectors))
    scored = pa.table(
        [
            pa.array(rows[owner], pa.int32()),
            pa.array(positives, pa.int32()),
            pa.array(score_pairs(vectors, corpus.vectors, owner, positives), pa.float64()),
            pa.array(ranks, pa.int32(), mask=ranks == 0),
        ],
        schema=POSITIVES,
    )
    counters = {
        "queries": len(rows),
        "candidates": len(query),
        "positives": len(positives),
        "positives.found": int((ranks > 0).sum()),
        "deepened": sum(block.counts["deepened"] for block in blocks),
        "missing": sum(block.counts["missing"] for block in blocks),
    }
    return {"candidates": candidates, "positives": scored}, counters


def _ranks(hits: np.ndarray, owner: np.ndarray, positives: np.ndarray, rows: int) -> np.ndarray:
    """The rank from 1 of each positive among the hits (m, k) of the query `owner`, 0 where it is not among them: (p,)."""
    query, rank = np.nonzero(hits >= 0)
    keys = query * rows + hits[query, rank]
    order = np.argsort(keys)
    wanted = owner * rows + positives
    place = np.searchsorted(keys, wanted, sorter=order)
    ranks = np.zeros(len(wanted), dtype=np.int64)
    inside = np.flatnonzero(place < len(keys))
    inside = inside[keys[order[place[inside]]] == wanted[inside]]
    ranks[inside] = rank[order[place[inside]]] + 1
    return ranks
