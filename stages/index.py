"""Builds the index over the corpus, once for mining and for evaluation, and measures its recall against exact search."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated

import numpy as np
from pydantic import Field

from stages.errors import YieldError
from stages.indexes.flat import Flat
from stages.registry import OneOf
from stages.search import Index, Searcher, digest, dimensions_of, error_bound, gather, vector_blocks
from stages.settings import Settings
from stages.spec import Context, Inputs, Part, Source, Spec

_BLOCK = 8_192


class IndexConfig(Settings):
    """Which index, and how well it must find."""

    kind: Annotated[Index, OneOf("indexes")] = Field(
        default_factory=Flat,
        description="flat is exact; an approximate one pays above about 1e11 pairs of query and document",
    )
    recall_sample: int = Field(
        256,
        ge=1,
        description="queries that recall is measured on; each costs one pass over the corpus vectors in float64",
    )
    recall_depth: int = Field(
        100, ge=1, description="documents a query that recall is measured over; the depth of mining"
    )
    recall_floor: float = Field(0.0, ge=0.0, le=1.0, description="mean recall below which the run stops")
    seed: int = Field(0, ge=0, description="seed of the sample of queries")


SPEC = Spec(
    name="index",
    version=1,
    config=IndexConfig,
    inputs=("corpus_vectors", "query_vectors"),
    files=("corpus.faiss",),
    resources=frozenset({"cpu", "memory"}),
)


class _Blocks:
    """The vectors of a table, as often as they are asked for."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __iter__(self) -> Iterator[np.ndarray]:
        return vector_blocks(self.source)


def run(config: IndexConfig, inputs: Inputs, context: Context) -> Iterator[Part]:
    """Yields the index and, as facts, its kind, shape and recall. Raises YieldError when recall is below the floor."""
    for shard in context.shards:
        corpus, queries = inputs["corpus_vectors"], inputs["query_vectors"]
        rows, dimensions = corpus.rows, dimensions_of(corpus)
        built = config.kind.build(_Blocks(corpus), rows, dimensions)
        depth = min(config.recall_depth, rows)
        if depth < config.recall_depth:
            context.log(f"recall is measured over {depth} documents, all there are, not over {config.recall_depth}")
        count = min(config.recall_sample, queries.rows)
        sample = np.sort(np.random.default_rng(config.seed).choice(queries.rows, count, replace=False))
        value = recall(built, next(gather(queries, [sample])), _Blocks(corpus), depth)
        if value < config.recall_floor:
            raise YieldError(
                f"the index finds {value:.4f} of the {depth} nearest documents",
                where="index.recall_floor",
                got=f"at least {config.recall_floor} is asked for",
                try_="a higher nprobe or ef_search, or name = flat",
            )
        facts = {
            "kind": config.semantic()["kind"],
            "exact": config.kind.exact,
            "rows": rows,
            "dimensions": dimensions,
            "recall": {"depth": depth, "sample": count, "value": value},
            "rows_sha256": digest(_Blocks(corpus)),
        }
        yield Part(shard, files={"corpus.faiss": partial(config.kind.save, built)}, facts=facts)


def recall(searcher: Searcher, queries: np.ndarray, corpus: _Blocks, depth: int) -> float:
    """Mean share of the `depth` best documents by float64 score that a search finds, for queries float32 (m, d).

    Counted by score: a hit counts when it scores at least what the last of the best does, less the rounding of float32,
    so that ties and near ties at the last rank count for whichever document is found. One pass, memory of one block.
    """
    found = searcher.search(queries, depth)[1]
    exact = queries.astype(np.float64)
    best = np.full((len(queries), depth), -np.inf)
    hits = np.full(found.shape, -np.inf)
    longest, start = 0.0, 0
    for large in corpus:
        for block in np.split(large, range(_BLOCK, len(large), _BLOCK)):
            scores = exact @ block.astype(np.float64).T
            i, j = np.nonzero((found >= start) & (found < start + len(block)))
            hits[i, j] = scores[i, found[i, j] - start]
            both = np.concatenate([best, scores], axis=1)
            best = np.partition(both, both.shape[1] - depth, axis=1)[:, -depth:]
            longest = max(longest, float(np.sqrt(np.square(block, dtype=np.float64).sum(axis=1).max())))
            start += len(block)
    limit = best.min(axis=1) - 2 * error_bound(queries, longest)
    return float((hits >= limit[:, None]).sum() / found.size)
