"""Measures a round's model on held-out queries: against its own index, beside BM25 and the rounds before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, Field

from stages.arrays import repeated
from stages.classifying import classified
from stages.errors import InputError
from stages.measuring import QUERIES, Hits, Measures, Topics, Values, compared, earlier, measured, metrics_table, stored
from stages.own_pictures import Itself
from stages.registry import Member, OneOf
from stages.retrievers.bm25 import Bm25
from stages.schemas import COMPARISONS, HITS
from stages.scopes import Scopes
from stages.spec import Context, Inputs, Part, Shard, Spec
from stages.text import joined
from stages.trec import escaped, falling, run_lines

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


class EvaluateConfig(Measures):
    splits: tuple[str, ...] = Field(
        ("test",), min_length=1, description="Splits of the queries to measure. Each costs its own search."
    )
    bm25: Annotated[Lexical | None, OneOf("retrievers"), AfterValidator(_lexical)] = Field(
        default_factory=Bm25,
        description="The lexical system to compare with, run in round 0 alone; `false` leaves it out.",
    )
    neighbours: tuple[int, ...] = Field(
        (),
        description="Numbers of nearest pictures of the split train that vote for a picture's class (kNN accuracy). They and the "
        "probe need a data set with labels, whose splits go by what the pictures show.",
    )
    probe: bool = Field(
        False,
        description="Accuracy of a linear classifier on the vectors of the split train. Costs seconds for thousands.",
    )
    probe_penalty: float = Field(
        0.01, gt=0, description="Weight decay of that classifier; more for few pictures and long vectors."
    )


SPEC = Spec(
    name="evaluate",
    version=3,
    config=EvaluateConfig,
    facts_of=("corpus.faiss",),
    inputs=("corpus", "queries", "qrels", "corpus_vectors", "query_vectors", "corpus.faiss"),
    optional=("first_metrics", "previous_metrics"),
    tables=("metrics", "comparisons", "hits"),
    files=("runs",),
)


def run(config: EvaluateConfig, inputs: Inputs, context: Context) -> Iterator[Part]:
    """One whole shard: hits and run of each system, metrics per query and in the mean, comparisons."""
    for shard in context.shards:
        yield from _evaluate(config, inputs, context, shard)


def _evaluate(config: EvaluateConfig, inputs: Inputs, context: Context, shard: Shard) -> Iterator[Part]:
    from stages.search import check_depth

    check_depth(inputs["corpus.faiss"], config.depth, "evaluate.depth")
    topics, counters, facts = _topics(config, inputs, context)
    scopes = Scopes.of(inputs)
    depth = min(config.depth, scopes.widest)
    if depth < config.depth:
        context.log(f"evaluate: depth {config.depth} is clamped to the {depth} documents there are to find")
    yield Part(shard, counters=counters, facts={**facts, "depth": depth}, last=False)

    systems: list[tuple[Hits, np.ndarray]] = []  # with falling scores float32 (m, k)
    values: dict[str, Values] = {}
    tables: list[pa.Table] = []
    for hits, counted in _systems(config, inputs, context, topics, depth=depth, scopes=scopes):
        fallen = falling(hits.scores)
        systems.append((hits, fallen))
        values[hits.system] = measured(config, context, topics, hits, fallen=fallen, splits=config.splits)
        tables.append(metrics_table(config, context.round, None, hits.system, values[hits.system]))
        for direction, some in _directions(scopes, topics, values[hits.system]):
            tables.append(metrics_table(config, context.round, None, f"{hits.system} {direction}", some))
        yield Part(shard, tables={"hits": _hits_table(topics, hits)}, counters=counted, last=False)

    if config.neighbours or config.probe:
        tables.append(classified(config, inputs, context))
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


def _systems(
    config: EvaluateConfig, inputs: Inputs, context: Context, topics: Topics, *, depth: int, scopes: Scopes
) -> Iterator[Counted]:
    """What each system found, and what it counted; in the order of their names, one at a time."""
    if config.bm25 is not None and context.round == 0:
        if scopes.pictures:
            context.log("evaluate: BM25 is not measured, it would search the captions of the pictures")
        else:
            yield _run_lexical(config.bm25, inputs, context, topics, depth)
    yield _run_dense(inputs, topics, depth, scopes)


def _directions(scopes: Scopes, topics: Topics, values: Values) -> Iterator[tuple[str, Values]]:
    """Where texts look for pictures and pictures for texts, each direction by itself."""
    if scopes.shown is None:
        return
    for name, picture in (("text to picture", False), ("picture to text", True)):
        some = {
            key: (rows[inside], each[inside])
            for key, (rows, each) in values.items()
            if (inside := scopes.shown[rows] == picture).any()
        }
        if some:
            yield name, some


def _run_lexical(lexical: Lexical, inputs: Inputs, context: Context, topics: Topics, depth: int) -> Counted:
    index = lexical.build(joined(inputs["corpus"].read(["title", "text"])))
    queries = inputs["queries"].read(["text"]).column("text").take(topics.rows).to_pylist()
    rows = np.empty((len(queries), depth), dtype=np.int32)
    scores = np.empty((len(queries), depth))
    with context.progress("BM25", len(queries)) as bar:
        for start in range(0, len(queries), QUERIES):
            block = slice(start, start + QUERIES)
            rows[block], scores[block] = index.search(queries[block], depth)
            bar.advance(len(queries[block]))
    return Hits("bm25", rows, scores), {"bm25.queries_without_hit": int((rows < 0).all(axis=1).sum())}


def _run_dense(inputs: Inputs, topics: Topics, depth: int, scopes: Scopes) -> Counted:
    from stages.search import gather, open_corpus

    corpus = open_corpus(inputs["corpus_vectors"], inputs["corpus.faiss"])
    vectors = next(gather(inputs["query_vectors"], [topics.rows]))
    itself = Itself.of(inputs, topics, scopes)
    deep = min(depth + itself.most, scopes.widest)
    hits = scopes.search(corpus, vectors, topics.rows, deep, lambda some, queries: some.search(queries, deep))
    rows, scores = itself.left_out(hits.rows, hits.scores, depth)
    return Hits("dense", rows, scores), {f"dense.{name}": count for name, count in hits.counts.items()}


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
        for name, round in earlier(context.round, ("first_metrics", "previous_metrics")).items():
            if name not in inputs:
                context.log(f"evaluate: no metrics of round {round}, so this round is not compared with it")
            else:
                others.append((round, "dense", stored(inputs[name], "dense", None)))
        others += [(0, "bm25", stored(inputs["first_metrics"], "bm25", None))] if "first_metrics" in inputs else []
    rows: list[dict[str, Any]] = []
    for round, system, other in others:
        names = {"round": context.round, "against_round": round, "against_system": system}
        rows += compared(config, context.log, values["dense"], other, names)
    return pa.Table.from_pylist(rows, schema=COMPARISONS)
