"""Searches candidates for each query of a split and scores the query's positives.

The saved index searches by default; with an exact one the candidates are those of a float64 search over all documents (see
stages.search). Other retrievers can search beside it or in its place. Then a query's candidates are all that any of them
found, ranked by the retriever or by a fusion of several; each keeps its rank and score at every retriever. Whoever found a
candidate, its score is the inner product of the stored vectors, for it is held against those of the positives, which are
scored in the same way and never looked up among the hits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Self, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from stages import cells
from stages.arrays import repeated
from stages.errors import ConfigError, YieldError, suggestion
from stages.fusion import Fusion, Union
from stages.fusions.rrf import Rrf
from stages.held import once
from stages.judging import Lookup
from stages.registry import ManyOf, OneOf
from stages.retrieval import Collection, Opened, Opens, Retriever
from stages.retrievers.dense import Dense
from stages.retrievers.run import Run
from stages.schemas import CANDIDATES, FOUND_BY, POSITIVES
from stages.scopes import Scopes
from stages.scoring import score_pairs
from stages.search import Corpus, Hits, check_depth, gather, open_corpus
from stages.settings import Settings, speed
from stages.spec import Context, Inputs, Part, Shard, Spec, cut

_KEYS = 1 << 16  # candidates looked up at a time: their keys stay in the cache


def label_of(retriever: Retriever) -> str:
    """The name of a retriever among the results: its label where it has one, else its kind."""
    return cast(str, getattr(retriever, "label", None) or retriever.name)


class MineConfig(Settings):
    """How deep to search, with what, and for which queries."""

    depth: int = Field(
        100,
        ge=1,
        description="candidates a query and retriever, positives included; time and the size of what is written grow with it",
    )
    retrievers: Annotated[tuple[Retriever, ...], ManyOf("retrievers")] = Field(
        (Dense(),),
        description="what searches; dense is the saved index, each other one costs a search of its own",
    )
    fusion: Annotated[Fusion, OneOf("fusions")] = Field(
        Rrf(), description="how several retrievers' hits become one ranking; without effect where one searches alone"
    )
    split: str = Field("train", description="split whose queries are mined")
    shard_queries: int = Field(
        16_384, ge=1, description="queries a shard, which is what a kill can lose; below 4,096 the search gets slower"
    )
    block_queries: int = speed(
        16_384, "queries a call of the index; memory grows with it, and small calls are many times slower", ge=1
    )
    cell_documents: int | None = speed(
        None,
        "documents searched at a time by the exact index, the best of all merged; none is all. Memory for 1 byte a value of "
        "these; below a million the search gets slower",
        ge=1,
    )

    @model_validator(mode="after")
    def _retrievers_can_be_told_apart(self) -> Self:
        labels = self.labels
        if not labels:
            raise ConfigError("no retriever is listed", where="mine.retrievers", try_='name = "dense"')
        if twice := sorted(label for label, count in Counter(labels).items() if count > 1):
            raise ConfigError(
                "two retrievers have one name", where="mine.retrievers", got=", ".join(twice), try_="give one a label"
            )
        for name in self.fusion.weights:
            if name not in labels:
                raise ConfigError(
                    f"a weight for {name!r}, which does not search", where="mine.fusion.weights",
                    try_=suggestion(name, labels),
                )  # fmt: skip
        return self

    @property
    def labels(self) -> list[str]:
        """The retrievers' names among the results."""
        return [label_of(each) for each in self.retrievers]

    @property
    def dense_alone(self) -> bool:
        """Whether the saved index searches, and nothing else."""
        return len(self.retrievers) == 1 and isinstance(self.retrievers[0], Dense)

    @property
    def ranked_by(self) -> str:
        """What a candidate's rank comes from."""
        return self.labels[0] if len(self.retrievers) == 1 else self.fusion.name


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


def external(config: MineConfig, inputs: Inputs, device: str) -> Mapping[str, str]:
    """What retrievers read outside of the workspace: runs, weights."""
    prints = {label_of(each): each.fingerprint() for each in config.retrievers}
    return {label: found for label, found in prints.items() if found}


SPEC = Spec(
    name="mine",
    version=2,
    config=MineConfig,
    facts_of=("corpus.faiss",),
    inputs=("corpus", "queries", "qrels", "corpus_vectors", "query_vectors", "corpus.faiss"),
    tables=("candidates", "positives"),
    shards=shards,
    external=external,
    resources=frozenset({"cpu", "memory"}),
)


def run(config: MineConfig, inputs: Inputs, context: Context) -> Iterator[Part]:
    """Yields candidates and positives of each shard. Raises ArtefactError when index and vectors do not belong together."""
    if not context.shards:
        return
    plan = once(context, "plan", lambda: _plan(config, inputs))
    check_depth(inputs["corpus.faiss"], config.depth, "mine.depth")
    corpus = once(context, "corpus", lambda: open_corpus(inputs["corpus_vectors"], inputs["corpus.faiss"]))
    scopes = once(context, "scopes", lambda: Scopes.of(inputs))
    if config.cell_documents is not None and not isinstance(corpus.searcher, cells.Divisible):
        raise ConfigError(
            "this index cannot be searched in cells", where="mine.cell_documents", got=inputs["corpus.faiss"].facts["kind"]["name"],
            try_='leave it out, or [index.kind] name = "exact"',
        )  # fmt: skip
    depth = min(config.depth, scopes.widest)
    if depth < config.depth:
        context.log(f"the depth is {depth}, all documents there are to find, and not {config.depth}")
    if plan.without:
        context.log(f"{plan.without} queries of the split {config.split!r} have no positive and are not mined")
    final = (len(plan.queries) - 1) // config.shard_queries
    collection = Collection(inputs["corpus"], inputs["queries"], plan.queries, context)
    if scopes.pictures:
        _refuse_texts(config)
    searched = _Searched(config, corpus, scopes, depth, once(context, "retrievers", lambda: _open(config, collection)))
    deepened = 0
    with context.progress("mine", sum(s.stop - s.start for s in context.shards)) as bar:
        parts = [plan.part(shard) for shard in context.shards]
        gathered = gather(inputs["query_vectors"], [part.queries for part in parts])
        for shard, part, vectors in zip(context.shards, parts, gathered, strict=True):
            tables, counters = _mine(searched, part, vectors, np.arange(shard.start, shard.stop))
            deepened += counters["deepened"]
            if shard.index == 0:
                counters["queries.without_positives"] = plan.without
                counters |= searched.opening
            counters["clamped"] = len(part.queries) if depth < config.depth else 0
            facts = {"depth": depth, "split": config.split, "retriever": config.ranked_by, "exact": corpus.exact}
            if not config.dense_alone:
                facts["retrievers"] = config.labels
            bar.advance(len(part.queries))
            yield Part(shard, tables=tables, counters=counters, facts=facts if shard.index == final else {})
    if deepened:
        context.log(f"{deepened} queries were searched deeper to settle which documents share the last rank")


@dataclass(frozen=True)
class _Searched:
    """What is searched: the corpus by its index, and other retrievers by their names."""

    config: MineConfig
    corpus: Corpus
    scopes: Scopes
    depth: int
    opened: Mapping[str, Opened]

    @property
    def opening(self) -> dict[str, int]:
        """What was counted when the retrievers were opened."""
        return {f"{label}.{name}": n for label, each in self.opened.items() for name, n in each.counts.items()}


def _refuse_texts(config: MineConfig) -> None:
    """Raises ConfigError when a retriever would search the captions of pictures instead of what is to be seen."""
    for label, each in zip(config.labels, config.retrievers, strict=True):
        if not isinstance(each, Dense | Run):
            raise ConfigError(
                f"the retriever {label!r} searches texts, and there are pictures", where="mine.retrievers",
                try_='name = "dense", or "run" for the run of another system',
            )  # fmt: skip


def _open(config: MineConfig, collection: Collection) -> dict[str, Opened]:
    """All retrievers but the saved index, ready to be searched. Says what was left out or cut short."""
    opened = {}
    for each in config.retrievers:
        if isinstance(each, Dense):
            continue
        label = label_of(each)
        opened[label] = cast(Opens, each).open(collection)
        if counts := {name: count for name, count in opened[label].counts.items() if count}:
            collection.context.log(f"{label}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))
    return opened


def _mine(
    searched: _Searched, plan: _Plan, vectors: np.ndarray, which: np.ndarray
) -> tuple[dict[str, pa.Table], dict[str, int]]:
    """Candidates and positives of the plan's queries, and what was counted.

    vectors: float32 (m, d); which: int64 (m,), their places among all queries that are mined.
    """
    corpus, rows = searched.corpus, plan.queries
    if searched.config.dense_alone:
        hits = _dense(searched, vectors, rows)
        query, rank, document, score = _listed(hits)
        found_by, counted = pa.nulls(len(query), FOUND_BY), hits.counts
    else:
        union, order, rank, counted = _several(searched, vectors, rows, which)
        query, document = union.query[order], union.document[order]
        score = score_pairs(vectors, corpus.vectors, query, document)
        found_by = union.found_by(order, searched.config.labels)
    candidates = pa.table(
        [
            pa.array(rows.astype(np.int32)[query]),
            pa.array(document, pa.int32()),
            pa.array(rank, pa.int32()),
            pa.array(score, pa.float64()),
            repeated(searched.config.ranked_by, len(query)),
            found_by,
        ],
        schema=CANDIDATES,
    )
    owner = np.repeat(np.arange(len(rows)), np.diff(plan.offsets))
    ranks = _ranks(query, document, rank, owner, plan.positives)
    scored = pa.table(
        [
            pa.array(rows[owner], pa.int32()),
            pa.array(plan.positives, pa.int32()),
            pa.array(score_pairs(vectors, corpus.vectors, owner, plan.positives), pa.float64()),
            pa.array(ranks, pa.int32(), mask=ranks == 0),
        ],
        schema=POSITIVES,
    )
    counters = {
        "queries": len(rows),
        "candidates": len(query),
        "positives": len(plan.positives),
        "positives.found": int((ranks > 0).sum()),
        **counted,
    }
    return {"candidates": candidates, "positives": scored}, counters


def _dense(searched: _Searched, vectors: np.ndarray, rows: np.ndarray) -> Hits:
    """What the saved index finds for the queries `rows` (m,), float32 (m, d), in blocks."""
    size, cell = searched.config.block_queries, searched.config.cell_documents

    def search(corpus: Corpus, vectors: np.ndarray) -> Hits:
        if cell is not None:
            return cells.search(corpus, vectors, searched.depth, cell)
        blocks = [
            corpus.search(vectors[start : start + size], searched.depth) for start in range(0, len(vectors), size)
        ]
        if len(blocks) == 1:
            return blocks[0]
        counts = {name: sum(block.counts[name] for block in blocks) for name in ("deepened", "missing")}
        return Hits(np.concatenate([b.rows for b in blocks]), np.concatenate([b.scores for b in blocks]), counts)

    return searched.scopes.search(searched.corpus, vectors, rows, searched.depth, search)


def _several(
    searched: _Searched, vectors: np.ndarray, rows: np.ndarray, which: np.ndarray
) -> tuple[Union, np.ndarray, np.ndarray, dict[str, int]]:
    """What the retrievers found, its order and ranks, and what was counted."""
    config, hits, counts = searched.config, [], {"deepened": 0, "missing": 0}
    for each in config.retrievers:
        label = label_of(each)
        if isinstance(each, Dense):
            found, scores, dense = _dense(searched, vectors, rows)
            counts |= dense
        else:
            found, scores = searched.opened[label].search(which, searched.depth)
        counts[f"{label}.hits"] = int((found >= 0).sum())
        counts[f"{label}.queries_without_hit"] = int((found < 0).all(axis=1).sum())
        hits.append((found, scores))
    union = Union.of(hits)
    fused = config.fusion.fuse(union, config.labels) if len(hits) > 1 else -union.rank[:, 0].astype(np.float64)
    order, rank = union.ranked(fused)
    return union, order, rank, counts


def _listed(hits: Hits) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Query int32, rank from 1 int32, row and score of each hit, query by query: (n,) each."""
    found = hits.rows >= 0  # what is missing comes last
    counts = found.sum(axis=1)
    query = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    first = (np.cumsum(counts) - counts).astype(np.int32)
    rank = np.arange(1, len(query) + 1, dtype=np.int32) - first[query]
    if len(query) == found.size:
        return query, rank, hits.rows.ravel(), hits.scores.ravel()
    return query, rank, hits.rows[found], hits.scores[found]


def _ranks(
    query: np.ndarray, document: np.ndarray, rank: np.ndarray, owner: np.ndarray, positives: np.ndarray
) -> np.ndarray:
    """The rank among the candidates (n,) of each pair of owner and positive (p,), ascending; 0 where it is none: int64 (p,)."""
    size = int(max(document.max(initial=0), positives.max(initial=0))) + 1
    places = Lookup(owner * size + positives, np.arange(len(owner), dtype=np.float64))
    ranks = np.zeros(len(owner), dtype=np.int64)
    for start in range(0, len(query), _KEYS):
        part = slice(start, start + _KEYS)
        place = places(query[part].astype(np.int64) * size + document[part])
        found = np.flatnonzero(~np.isnan(place))
        ranks[place[found].astype(np.int64)] = rank[part][found]
    return ranks
