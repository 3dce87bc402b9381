"""Measures a round's model on held-out queries: against its own index, beside BM25 and the rounds before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, Field, model_validator

from stages.arrays import repeated
from stages.errors import InputError
from stages.registry import Member, OneOf
from stages.retrievers.bm25 import Bm25
from stages.schemas import COMPARISONS, HITS, METRICS
from stages.settings import Settings
from stages.spec import Context, Inputs, Part, Shard, Source, Spec
from stages.statistics import bootstrap_interval, randomisation_test
from stages.text import join_title
from stages.trec import Measure, escaped, falling, measure, run_lines

_QUERIES = 512
"""Queries measured, and searched by BM25, at a time."""
_LISTED = 100
"""Ids listed of queries without a relevant document; all are counted."""


class Lexical(Protocol):
    """A retriever over texts: `build` indexes the documents in row order."""

    def build(self, texts: Sequence[str]) -> LexicalIndex: ...


class LexicalIndex(Protocol):
    def search(self, queries: Sequence[str], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows int32 (m, k), -1 where there is no hit, and scores float64 (m, k); equal scores by row."""
        ...


def _lexical(value: Any) -> Any:
    if value is None or value is False:
        return None
    if isinstance(value, Member) and hasattr(value, "build"):
        return value
    raise ValueError('must be a retriever over texts, as in { name = "bm25" }, or false')


class EvaluateConfig(Settings):
    splits: tuple[str, ...] = Field(
        ("test",), min_length=1, description="Splits of the queries to measure. Each costs its own search."
    )
    depth: int = Field(
        1000,
        ge=1,
        description="Documents retrieved for a query. MAP is over these; more cost time and space in proportion. Beyond the "
        "depth at which an approximate index was measured (index.recall_depth) the stage refuses.",
    )
    ndcg_cutoffs: tuple[int, ...] = Field((10,), description="Ranks at which nDCG is cut off.")
    mrr_cutoffs: tuple[int, ...] = Field((10,), description="Ranks at which the reciprocal rank is cut off.")
    recall_cutoffs: tuple[int, ...] = Field((100,), description="Ranks at which recall is cut off.")
    bootstrap: int = Field(
        2000, ge=100, description="Resamples of the queries for a 95% interval. More make its ends steadier."
    )
    randomisations: int = Field(
        10_000, ge=100, description="Random sign patterns for a p-value, which is at least 1 / (this + 1)."
    )
    seed: int = Field(0, ge=0, description="Seed of resamples and sign patterns.")
    bm25: Annotated[Lexical | None, OneOf("retrievers"), AfterValidator(_lexical)] = Field(
        default_factory=Bm25,
        description="The lexical system to compare with, run in round 0 alone; `false` leaves it out.",
    )

    @model_validator(mode="after")
    def _cutoffs_within_depth(self) -> EvaluateConfig:
        cutoffs = (*self.ndcg_cutoffs, *self.mrr_cutoffs, *self.recall_cutoffs)
        if any(cutoff < 1 or cutoff > self.depth for cutoff in cutoffs):
            raise ValueError(f"every cutoff must be from 1 to depth ({self.depth})")
        return self

    def measures(self) -> tuple[Measure, ...]:
        groups = (("nDCG", self.ndcg_cutoffs), ("MRR", self.mrr_cutoffs), ("Recall", self.recall_cutoffs))
        return (*(Measure(name, cutoff) for name, cutoffs in groups for cutoff in cutoffs), Measure("MAP", None))


SPEC = Spec(
    name="evaluate",
    version=1,
    config=EvaluateConfig,
    facts_of=("corpus.faiss",),
    inputs=("corpus", "queries", "qrels", "corpus_vectors", "query_vectors", "corpus.faiss"),
    optional=("first_metrics", "previous_metrics"),
    tables=("metrics", "comparisons", "hits"),
    files=("runs",),
)


@dataclass(frozen=True)
class Topics:
    """The queries that are measured, by row: those of the splits that have a relevant document."""

    rows: np.ndarray  # int32 (m,)
    splits: np.ndarray  # str (m,)
    relevant: list[dict[int, int]]  # (m,), relevance by document row, all above 0


@dataclass(frozen=True)
class Hits:
    """What one system found for the topics."""

    system: str
    rows: np.ndarray  # int32 (m, k), -1 where there is no hit
    scores: np.ndarray  # float64 (m, k), equal scores by row


Values = Mapping[tuple[str, Measure], tuple[np.ndarray, np.ndarray]]
"""For each split and measure of a system: query rows int32 (n,) in order, and their values float64 (n,)."""


def run(config: EvaluateConfig, inputs: Inputs, context: Context) -> Iterator[Part]:
    """One whole shard: hits and run of each system, metrics per query and in the mean, comparisons."""
    for shard in context.shards:
        yield from _evaluate(config, inputs, context, shard)


def _evaluate(config: EvaluateConfig, inputs: Inputs, context: Context, shard: Shard) -> Iterator[Part]:
    from stages.search import check_depth

    check_depth(inputs["corpus.faiss"], config.depth, "evaluate.depth")
    topics, counters, facts = _topics(config, inputs, context)
    depth = min(config.depth, inputs["corpus"].rows)
    if depth < config.depth:
        context.log(f"evaluate: depth {config.depth} is clamped to the {depth} documents of the corpus")
    yield Part(shard, counters=counters, facts={**facts, "depth": depth}, last=False)

    systems: list[tuple[Hits, np.ndarray]] = []  # with falling scores float32 (m, k)
    values: dict[str, Values] = {}
    tables: list[pa.Table] = []
    for hits, counted in _systems(config, inputs, context, topics, depth):
        fallen = falling(hits.scores)
        systems.append((hits, fallen))
        values[hits.system] = _measured(config, context, topics, hits, fallen)
        tables.append(_metrics(config, context.round, hits.system, values[hits.system]))
        yield Part(shard, tables={"hits": _hits_table(topics, hits)}, counters=counted, last=False)

    writer, changed = _run_writer(inputs, topics, systems, context.round)
    yield Part(
        shard,
        tables={
            "metrics": pa.concat_tables(tables).unify_dictionaries(),
            "comparisons": _comparisons(config, inputs, context, values),
        },
        files={"runs": writer},
        counters={"ids.escaped": changed},
    )


def _topics(config: EvaluateConfig, inputs: Inputs, context: Context) -> tuple[Topics, dict[str, int], dict[str, Any]]:
    queries = inputs["queries"].read(["row", "query_id", "split"])
    split_of = queries.column("split").to_numpy()
    relevant: dict[int, dict[int, int]] = {}
    for batch in inputs["qrels"].batches(["query_row", "doc_row", "relevance"]):
        above = batch.filter(pc.greater(batch.column("relevance"), 0))
        for query, doc, gain in zip(*(above.column(i).to_pylist() for i in range(3)), strict=True):
            relevant.setdefault(query, {})[doc] = gain
    has_positive = np.zeros(len(split_of), dtype=bool)
    has_positive[list(relevant)] = True

    counters, unmeasured = {}, {}
    for split in config.splits:
        inside = split_of == split
        without = np.flatnonzero(inside & ~has_positive)
        if not (inside & has_positive).any():
            raise InputError(
                f"no query of the split {split!r} has a relevant document",
                where="evaluate.splits",
                got=f"splits of the queries: {', '.join(sorted(set(split_of.tolist()))) or 'none'}",
            )
        counters[f"{split}.queries"] = int((inside & has_positive).sum())
        counters[f"{split}.without_positive"] = len(without)
        unmeasured[split] = queries.column("query_id").take(without[:_LISTED]).to_pylist()
        if len(without):
            context.log(
                f"evaluate: {len(without)} queries of {split} have no relevant document and are left out of every mean"
            )
    rows = np.flatnonzero(np.isin(split_of, config.splits) & has_positive).astype(np.int32)
    topics = Topics(rows, split_of[rows], [relevant[row] for row in rows.tolist()])
    return topics, counters, {"without_positive": unmeasured}


Counted = tuple[Hits, Mapping[str, int]]


def _systems(config: EvaluateConfig, inputs: Inputs, context: Context, topics: Topics, depth: int) -> Iterator[Counted]:
    """What each system found, and what it counted; in the order of their names, one at a time."""
    if config.bm25 is not None and context.round == 0:
        yield _run_lexical(config.bm25, inputs, context, topics, depth)
    yield _run_dense(inputs, topics, depth)


def _run_lexical(lexical: Lexical, inputs: Inputs, context: Context, topics: Topics, depth: int) -> Counted:
    corpus = inputs["corpus"].read(["title", "text"])
    texts = [join_title(*pair) for pair in zip(*(column.to_pylist() for column in corpus.columns), strict=True)]
    index = lexical.build(texts)
    queries = inputs["queries"].read(["text"]).column("text").take(topics.rows).to_pylist()
    rows = np.empty((len(queries), depth), dtype=np.int32)
    scores = np.empty((len(queries), depth))
    with context.progress("BM25", len(queries)) as bar:
        for start in range(0, len(queries), _QUERIES):
            block = slice(start, start + _QUERIES)
            rows[block], scores[block] = index.search(queries[block], depth)
            bar.advance(len(queries[block]))
    return Hits("bm25", rows, scores), {"bm25.queries_without_hit": int((rows < 0).all(axis=1).sum())}


def _run_dense(inputs: Inputs, topics: Topics, depth: int) -> Counted:
    from stages.search import gather, open_corpus

    corpus = open_corpus(inputs["corpus_vectors"], inputs["corpus.faiss"])
    hits = corpus.search(next(gather(inputs["query_vectors"], [topics.rows])), depth)
    return Hits("dense", hits.rows, hits.scores), {f"dense.{name}": count for name, count in hits.counts.items()}


def _measured(config: EvaluateConfig, context: Context, topics: Topics, hits: Hits, fallen: np.ndarray) -> Values:
    measures = config.measures()
    blocks = []
    with context.progress(f"measures of {hits.system}", len(topics.rows)) as bar:
        for start in range(0, len(topics.rows), _QUERIES):
            block = slice(start, start + _QUERIES)
            blocks.append(measure(hits.rows[block], fallen[block], topics.relevant[block], measures))
            bar.advance(len(blocks[-1]))
    values = np.concatenate(blocks)  # (m, len(measures))
    parts = {split: topics.splits == split for split in config.splits}
    return {
        (split, m): (topics.rows[inside], values[inside, i])
        for split, inside in parts.items()
        for i, m in enumerate(measures)
    }


def _metrics(config: EvaluateConfig, round: int, system: str, values: Values) -> pa.Table:
    """For each split and measure the mean with its interval, then the value of each query."""
    tables = []
    for split in config.splits:
        measures = [m for s, m in values if s == split]
        low, high = bootstrap_interval(
            np.stack([values[split, m][1] for m in measures], axis=1), config.bootstrap, config.seed
        )
        for i, m in enumerate(measures):
            rows, each = values[split, m]
            count = len(rows) + 1
            nothing = [None] * len(rows)
            columns = [
                pa.array(np.full(count, round, dtype=np.int32)),
                repeated(system, count),
                repeated(split, count),
                repeated(m.name, count),
                pa.array([m.cutoff] * count, pa.int32()),
                pa.array([None, *rows.tolist()], pa.int32()),
                pa.array(np.concatenate([[each.mean()], each])),
                pa.array([low[i], *nothing], pa.float64()),
                pa.array([high[i], *nothing], pa.float64()),
            ]
            tables.append(pa.table(columns, schema=METRICS))
    return pa.concat_tables(tables)


def _hits_table(topics: Topics, hits: Hits) -> pa.Table:
    query, rank = np.nonzero(hits.rows >= 0)
    columns = [
        repeated(hits.system, len(query)),
        pa.array(topics.rows[query]),
        pa.array(hits.rows[query, rank]),
        pa.array((rank + 1).astype(np.int32)),
        pa.array(hits.scores[query, rank]),
    ]
    return pa.table(columns, schema=HITS)


def _run_writer(
    inputs: Inputs, topics: Topics, systems: Sequence[tuple[Hits, np.ndarray]], round: int
) -> tuple[Callable[[Path], None], int]:
    """A writer of the folder of runs, and how many ids of the data had to be escaped."""
    query_ids, odd_queries = escaped(inputs["queries"].read(["query_id"]).column("query_id").combine_chunks())
    doc_ids, odd_docs = escaped(inputs["corpus"].read(["doc_id"]).column("doc_id").combine_chunks())

    def write(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for hits, fallen in systems:
            tag = f"{hits.system}-{round:02d}"
            for split in np.unique(topics.splits).tolist():
                inside = topics.splits == split
                ids = query_ids.take(pa.array(topics.rows[inside]))
                with (folder / f"{hits.system}.{split}.trec").open("wb") as file:
                    file.writelines(run_lines(ids, doc_ids, hits.rows[inside], fallen[inside], tag))

    return write, odd_queries + odd_docs


def _comparisons(config: EvaluateConfig, inputs: Inputs, context: Context, values: Mapping[str, Values]) -> pa.Table:
    """The dense system of this round against round 0's, the one before, and BM25, paired by query."""
    others: list[tuple[int, str, Values]] = []
    if context.round == 0:
        others += [(0, "bm25", values["bm25"])] if "bm25" in values else []
    else:
        for name, round in {"first_metrics": 0, "previous_metrics": context.round - 1}.items():
            if name not in inputs:
                context.log(f"evaluate: no metrics of round {round}, so this round is not compared with it")
            elif not any(round == r for r, _, _ in others):
                others.append((round, "dense", _stored(inputs[name], "dense")))
        others += [(0, "bm25", _stored(inputs["first_metrics"], "bm25"))] if "first_metrics" in inputs else []
    rows: list[dict[str, Any]] = []
    for round, system, other in others:
        rows += _compared(config, context, values["dense"], other, {"against_round": round, "against_system": system})
    return pa.Table.from_pylist(rows, schema=COMPARISONS)


def _stored(metrics: Source, system: str) -> Values:
    """The values per query of one system in a table of metrics."""
    table = metrics.read(["system", "split", "measure", "cutoff", "query_row", "value"])
    table = table.filter(
        pc.and_(pc.equal(table.column("system").cast(pa.string()), system), pc.is_valid(table.column("query_row")))
    )
    names = [table.column(name).cast(pa.string()) for name in ("split", "measure")]
    cutoffs = table.column("cutoff")
    keys = list(zip(*(c.to_pylist() for c in (*names, cutoffs)), strict=True))
    rows, values = table.column("query_row").to_numpy(), table.column("value").to_numpy()
    places: dict[tuple[str, Measure], list[int]] = {}
    for i, (split, name, cutoff) in enumerate(keys):
        places.setdefault((split, Measure(name, cutoff)), []).append(i)
    return {key: (rows[at], values[at]) for key, at in places.items()}


def _compared(
    config: EvaluateConfig, context: Context, this: Values, other: Values, names: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    for split in config.splits:
        measures = [m for s, m in this if s == split and (s, m) in other]
        if not measures:
            continue
        rows, here, there = np.intersect1d(
            this[split, measures[0]][0], other[split, measures[0]][0], return_indices=True
        )
        apart = len(this[split, measures[0]][0]) - len(rows)
        if apart:
            context.log(
                f"evaluate: {apart} queries of {split} were not measured in round {names['against_round']} and are not compared"
            )
        if not len(rows):
            continue
        differences = np.stack(
            [this[split, m][1][here] - other[split, m][1][there] for m in measures], axis=1
        )  # (n, measures)
        low, high = bootstrap_interval(differences, config.bootstrap, config.seed)
        p_values = randomisation_test(differences, config.randomisations, config.seed)
        for i, m in enumerate(measures):
            yield {
                "round": context.round,
                **names,
                "split": split,
                "measure": m.name,
                "cutoff": m.cutoff,
                "difference": float(differences[:, i].mean()),
                "low": float(low[i]),
                "high": float(high[i]),
                "p_value": float(p_values[i]),
                "queries": len(rows),
            }
