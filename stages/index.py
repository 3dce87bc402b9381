"""Builds the index over the corpus, once for mining and for evaluation, and measures its recall against exact search.

Recall is measured over `recall_depth` documents a query, by the index's own search. Mining fetches some more and orders
them by float64 scores, so it finds at least as much; it refuses to go deeper with an approximate index than was measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Protocol, cast, runtime_checkable

import numpy as np
from pydantic import Field

from stages.errors import YieldError
from stages.indexes.exact import Exact
from stages.registry import Member, OneOf
from stages.scoring import error_bound, euclidean
from stages.search import Index, Parted, Searcher, digest, dimensions_of, gather, vector_blocks
from stages.settings import Settings
from stages.spec import Context, Inputs, Part, Source, Spec
from stages.statistics import bootstrap_interval

APPROXIMATE_FLOOR = 0.9
"""Mean recall that an approximate index must have unless the configuration says otherwise; an exact one must have 1."""
CHECKED = 32
"""Queries that an exact index is checked on."""
_BLOCK = 1_024  # documents at a time: they stay in the cache
_FLOAT32 = 1e30  # scores below it are summed in float32 without overflow
_LEAST = 1e-17  # lengths in float32 are right from here on, to a hundredth
_RESAMPLES = 1_000


@runtime_checkable
class Chooser(Protocol):
    """A member that chooses another one by what there is to search. What it chose is what is saved and loaded."""

    def choose(self, rows: int, dimensions: int, queries: int) -> tuple[Index, str]:
        """The index for a corpus (rows, dimensions) that `queries` queries search, and why."""
        ...


class IndexConfig(Settings):
    """Which index, and how well it must find."""

    kind: Annotated[Index | Chooser, OneOf("indexes")] = Field(
        default_factory=Exact,
        description="exact and flat find the same; factory is approximate and pays above about 1e11 pairs of query and document; "
        "auto chooses by size",
    )
    recall_sample: int = Field(
        256,
        ge=1,
        description="queries that recall is measured on; all together cost one pass over the corpus vectors. An exact index, "
        f"whose searches prove what they find, is checked on {CHECKED} of them at most",
    )
    recall_depth: int = Field(
        100, ge=1, description="documents a query that recall is measured over; the depth of mining"
    )
    recall_floor: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description=f"mean recall below which the run stops; none is 1 for an exact index, else {APPROXIMATE_FLOOR}",
    )
    seed: int = Field(0, ge=0, description="seed of the sample of queries")


SPEC = Spec(
    name="index",
    version=2,
    config=IndexConfig,
    facts_of=("corpus_vectors",),
    inputs=("corpus_vectors", "query_vectors"),
    files=("corpus.faiss",),
    resources=frozenset({"cpu", "memory"}),
)


class _Blocks:
    """The vectors of a table, or those of some rows of it, as often as they are asked for."""

    def __init__(self, source: Source, start: int = 0, stop: int | None = None) -> None:
        self.source, self._start, self._stop = source, start, source.rows if stop is None else stop

    def __iter__(self) -> Iterator[np.ndarray]:
        left = self._stop - self._start
        for block in vector_blocks(self.source, start=self._start):
            if left > 0:
                yield block[:left]
            left -= len(block)


def run(config: IndexConfig, inputs: Inputs, context: Context) -> Iterator[Part]:
    """Yields the index and, as facts, its kind, shape and recall. Raises YieldError when recall is below the floor."""
    for shard in context.shards:
        corpus, queries = inputs["corpus_vectors"], inputs["query_vectors"]
        rows, dimensions = corpus.rows, dimensions_of(corpus)
        kind, chosen = _choose(config.kind, rows, dimensions, queries.rows)
        if chosen:
            context.log(f"index: {chosen['because']}")
        built = kind.build(_Blocks(corpus), rows, dimensions)
        depth = min(config.recall_depth, rows)
        if depth < config.recall_depth:
            context.log(f"recall is measured over {depth} documents, all there are, not over {config.recall_depth}")
        sample = min(config.recall_sample, CHECKED) if kind.exact else config.recall_sample
        measured = _measure(config.seed, built, corpus, queries, depth=depth, sample=sample)
        for start, stop in _parts(corpus, kind):
            built_part = cast(Parted, built).part(start, stop)
            part = _measure(
                config.seed,
                built_part,
                corpus,
                queries,
                depth=min(depth, stop - start),
                sample=sample,
                rows=(start, stop),
            )
            measured = min(measured, {**part, "depth": depth}, key=lambda one: one["value"])
        floor = (1.0 if kind.exact else APPROXIMATE_FLOOR) if config.recall_floor is None else config.recall_floor
        if measured["value"] < floor:
            raise YieldError(
                f"the index finds {measured['value']:.4f} of the {depth} nearest documents",
                where="index.recall_floor",
                got=f"at least {floor} is asked for",
                try_="a higher nprobe, ef_search or refine_factor, or name = flat",
            )
        facts = {
            "kind": cast(Member, kind).semantic(),
            "exact": kind.exact,
            "rows": rows,
            "dimensions": dimensions,
            "recall": measured,
            "rows_xxh3": digest(_Blocks(corpus)),
            **({"chosen": chosen} if chosen else {}),
        }
        yield Part(shard, files={"corpus.faiss": partial(kind.save, built)}, facts=facts)


def _parts(corpus: Source, kind: Index) -> list[tuple[int, int]]:
    """Ranges of documents that are searched by themselves, as pictures and texts are; an exact index is as good in each."""
    pictures = int(corpus.facts.get("pictures", 0))
    return [] if kind.exact or not 0 < pictures < corpus.rows else [(0, pictures), (pictures, corpus.rows)]


def _choose(kind: Index | Chooser, rows: int, dimensions: int, queries: int) -> tuple[Index, dict[str, str]]:
    """The index to build, and by what and why it was chosen; empty when the configuration names it."""
    if not isinstance(kind, Chooser):
        return kind, {}
    index, reason = kind.choose(rows, dimensions, queries)
    return index, {"by": cast(Member, kind).name, "because": reason}


def _measure(
    seed: int,
    built: Searcher,
    corpus: Source,
    queries: Source,
    *,
    depth: int,
    sample: int,
    rows: tuple[int, int] | None = None,
) -> dict[str, int | float]:
    """Mean recall on a sample of queries, and the bootstrap interval of that mean over queries; of all documents or of some rows."""
    if not queries.rows:
        raise YieldError("there are no queries to measure recall with", where="index", try_="ingest queries")
    count = min(sample, queries.rows)
    asked = np.sort(np.random.default_rng(seed).choice(queries.rows, count, replace=False))
    each = recall(built, next(gather(queries, [asked])), _Blocks(corpus, *(rows or ())), depth)
    low, high = bootstrap_interval(each[:, None], _RESAMPLES, seed)
    return {"depth": depth, "sample": count, "value": float(each.mean()), "low": float(low[0]), "high": float(high[0])}


def recall(searcher: Searcher, queries: np.ndarray, corpus: _Blocks, depth: int) -> np.ndarray:
    """Share of the `depth` best documents that a search finds for each query: float64 (m,).

    Queries are float32 (m, d).

    Counted by score: a hit counts when it scores at least what the last of the best does, less the rounding of float32,
    so that ties and near ties at the last rank count for whichever document is found. One pass, memory of one block.
    """
    found = searcher.search(queries, depth)[1]
    best = np.full((len(queries), depth), -np.inf)
    hits = np.full(found.shape, -np.inf)
    asked, longest, start = float(euclidean(queries).max(initial=0.0)), 0.0, 0
    for large in corpus:
        for block in np.split(large, range(_BLOCK, len(large), _BLOCK)):
            with np.errstate(over="ignore"):
                length = np.sqrt(np.einsum("nd,nd->n", block, block).max(initial=0.0))
            length = max(float(length), _LEAST)  # smaller squares are 0 in float32
            in_float32 = asked * length < _FLOAT32
            scores = queries @ block.T if in_float32 else queries.astype(np.float64) @ block.astype(np.float64).T
            longest = max(longest, length * 1.01 if in_float32 else float(euclidean(block).max()))
            i, j = np.nonzero((found >= start) & (found < start + len(block)))
            hits[i, j] = scores[i, found[i, j] - start]
            both = np.concatenate([best, scores], axis=1)
            best = np.partition(both, both.shape[1] - depth, axis=1)[:, -depth:]
            start += len(block)
    limit = best.min(axis=1) - 4 * error_bound(
        queries, longest
    )  # of two scores here, and of two that a search compares
    return np.asarray((hits >= limit[:, None]).mean(axis=1))
