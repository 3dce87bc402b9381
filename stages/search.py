"""Search with a certificate: what an index finds, rescored in float64 and proven complete where the index is exact.

An index computes scores in float32, in an order of summation that hangs on block sizes and threads. So near the last rank
it may prefer one of two documents whose scores differ by less than its rounding, and it breaks ties as it likes. Here more
is fetched than asked for, the survivors are scored again in float64 from the stored vectors, and they are ordered by
(-score, row). A query is done when no document outside of what was fetched can belong to the result; else it is searched
deeper. The result then depends on the vectors alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
import xxhash

from stages.arrays import decoded, vector_columns
from stages.errors import ArtefactError, YieldError
from stages.registry import build
from stages.scoring import GRID, error_bound, few, flat, longest, score_pairs
from stages.spec import Source
from stages.threads import one_thread_each, spread

_HITS = 1 << 24  # entries of a block of hits, about 200 MB


class Searcher(Protocol):
    """An index that is ready to be searched."""

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 (m, k) in descending order and rows int64 (m, k) for queries float32 (m, d); row -1 is no hit."""
        ...


class Candidates(NamedTuple):
    """Documents that can be among the best of each query, with a proof that no others can."""

    offsets: np.ndarray
    """int64 (m + 1,): where each query's candidates begin."""
    rows: np.ndarray
    """int64 (t,), ascending for each query."""
    least: np.ndarray
    """float64 (t,): a lower bound of each score."""
    most: np.ndarray
    """float64 (t,): an upper bound of each score; NaN says nothing."""
    likely: np.ndarray
    """bool (t,): those whose lower bound is at least the k-th highest of their query, so k or more; all where there are fewer."""
    limits: np.ndarray
    """float64 (m,): a document that is not here scores at most this, or less than k of the candidates by a step of the grid."""


@runtime_checkable
class Joined(Protocol):
    """A searcher that leaves the scoring to float64: what it finds is scored once, and proven complete by its bounds."""

    def candidates(self, queries: np.ndarray, k: int, fetch: int, share: int = 1) -> Iterator[Candidates]:
        """For queries float32 (m, d) whose k best are sought: with `fetch` = n all documents, and the fewer the faster.

        Some queries after the other, so that not the candidates of all are held at a time. `share` searches at a time
        share the memory.
        """
        ...

    def threads(self, queries: int) -> int:
        """How many searches side by side, each on one core, do best for this many queries."""
        ...


@runtime_checkable
class Parted(Protocol):
    """A searcher that can search some of its documents alone."""

    def part(self, start: int, stop: int) -> Searcher:
        """The same over the documents `start` to `stop`, which are rows 0 and on there. It shares their vectors."""
        ...


@runtime_checkable
class Holding(Protocol):
    """A searcher that gives out the vectors it was built from, so that they are held once."""

    @property
    def vectors(self) -> np.ndarray:
        """float32 (n, d), in row order."""
        ...


class Index(Protocol):
    """A kind of index."""

    @property
    def exact(self) -> bool:
        """Whether the k best by float32 score are always found."""
        ...

    def build(self, vectors: Iterable[np.ndarray], rows: int, dimensions: int) -> Searcher:
        """An index over blocks of float32 (n, d), `rows` in all. `vectors` can be iterated more than once."""
        ...

    def save(self, built: Any, path: Path) -> None:
        """Writes what `build` gave."""
        ...

    def load(self, path: Path, rows: int, dimensions: int) -> Searcher:
        """Reads what `save` wrote. Raises ArtefactError when it is damaged or does not have this shape."""
        ...


class Hits(NamedTuple):
    """What a search found, by query in the order of (-score, row)."""

    rows: np.ndarray
    """int32 (m, k); -1 where an approximate index found less than k."""
    scores: np.ndarray
    """float64 (m, k) on the grid; -inf beside row -1."""
    counts: dict[str, int]
    """`deepened`: queries that had to be searched deeper. `missing`: hits that an approximate index did not find."""


def open_index(source: Source, rows: int, dimensions: int) -> tuple[Searcher, bool]:
    """A saved index, and whether it is exact. Its kind is among the facts of the stage that built it.

    Raises ArtefactError when it is damaged or was not built from `rows` vectors of `dimensions` values.
    """
    kind = dict(source.facts["kind"])
    index = cast(Index, build("indexes", kind.pop("name"), kind))
    return index.load(source.path(), rows, dimensions), index.exact


def measured_depth(index: Source) -> int | None:
    """How deep an index may be searched: as far as its recall was measured. None for an exact one, or one that says nothing."""
    if index.facts.get("exact", True):
        return None
    recall = index.facts.get("recall")
    return int(recall["depth"]) if recall else 0


def check_depth(index: Source, depth: int, where: str) -> None:
    """Raises YieldError when an approximate index would be searched deeper than its recall was measured.

    `where` names the depth in the configuration.
    """
    measured = measured_depth(index)
    if measured is None or min(depth, index.facts["rows"]) <= measured:
        return
    raise YieldError(
        f"the index's recall is not known at a depth of {depth}",
        where=where,
        got=f"it was measured over {measured} documents" if measured else "it was not measured",
        try_=f"index.recall_depth = {depth}, a lower depth, or an exact index",
    )


@dataclass(frozen=True)
class Corpus:
    """What is searched: the vectors of the documents and an index over them."""

    vectors: np.ndarray
    """float32 (n, d)."""
    searcher: Searcher
    exact: bool
    longest: float | None
    """`longest(vectors)`; None where a search does not need it."""

    def search(self, queries: np.ndarray, depth: int) -> Hits:
        """See `certified_search`. Queries are float32 (m, d)."""
        return certified_search(self.searcher, queries, self.vectors, depth, self.exact, longest_document=self.longest)

    def within(self, start: int, stop: int) -> Corpus:
        """The documents `start` to `stop` alone, which are rows 0 and on there."""
        if (start, stop) == (0, len(self.vectors)):
            return self
        return replace(self, vectors=self.vectors[start:stop], searcher=cast(Parted, self.searcher).part(start, stop))


def open_corpus(vectors: Source, index: Source) -> Corpus:
    """The documents to search. Vectors are held once: the index's own where it has them, and mapped where it maps them.

    Raises ArtefactError when the index is damaged or was not built from exactly these vectors in this order.
    """
    rows, dimensions = vectors.rows, dimensions_of(vectors)
    searcher, exact = open_index(index, rows, dimensions)
    if isinstance(searcher, Holding):
        values, found = searcher.vectors, digest(vector_blocks(vectors))
    else:
        values = load_vectors(vectors)
        found = digest([values])
    if found != index.facts["rows_xxh3"]:
        raise ArtefactError(
            "the index was not built from these vectors",
            got=f"vectors {found[:12]}, index {str(index.facts['rows_xxh3'])[:12]}",
            try_="run the index stage again",
        )
    known = exact and isinstance(searcher, Joined)
    return Corpus(values, searcher, exact, None if known or not exact else longest(values))


def load_vectors(source: Source) -> np.ndarray:
    """All vectors of a table: float32 (n, d), held once."""
    values = np.empty((source.rows, dimensions_of(source)), dtype=np.float32)
    start = 0
    for block in vector_blocks(source):
        values[start : start + len(block)] = block
        start += len(block)
    return values


def dimensions_of(source: Source) -> int:
    """The length of a table's vectors."""
    return int(source.schema.field("vector").type.list_size)


def vector_blocks(source: Source, rows: int = 65_536, start: int = 0) -> Iterator[np.ndarray]:
    """The vectors of a table in order from row `start` on: blocks of float32 (n, d)."""
    for batch in source.batches(vector_columns(source.schema), rows=rows, start=start):
        yield decoded(batch)


def gather(source: Source, wanted: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """The vectors of each array of rows in turn, float32 (n, d), in one pass. All rows together must be ascending.

    Rows that follow each other are not copied where they lie in one block of the table, and may not be written to then.
    """
    start = next((int(rows[0]) for rows in wanted if len(rows)), 0)
    blocks = vector_blocks(source, start=start)
    block = np.empty((0, dimensions_of(source)), dtype=np.float32)
    for rows in wanted:
        while len(rows) and rows[0] >= start + len(block):
            start += len(block)
            block = next(blocks)
        if (
            len(rows)
            and rows[-1] < start + len(block)
            and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows)))
        ):
            yield block[rows[0] - start : rows[-1] + 1 - start]
            continue
        values = np.empty((len(rows), block.shape[1]), dtype=np.float32)
        done = 0
        while done < len(rows):
            stop = int(np.searchsorted(rows, start + len(block)))
            np.take(block, rows[done:stop] - start, axis=0, out=values[done:stop], mode="clip")  # others copy once more
            done = stop
            if done < len(rows):
                start += len(block)
                block = next(blocks)
        yield values


def digest(blocks: Iterable[np.ndarray]) -> str:
    """XXH3 of 128 bits over float32 vectors in order, however they are cut into blocks: it tells mistakes, not forgeries."""
    state = xxhash.xxh3_128()
    for block in blocks:
        state.update(np.ascontiguousarray(block, dtype="<f4").data)
    return state.hexdigest()


def certified_search(
    searcher: Searcher,
    queries: np.ndarray,
    corpus: np.ndarray,
    depth: int,
    exact: bool,
    *,
    longest_document: float | None = None,
) -> Hits:
    """The `depth` best documents of each query, or all documents when there are fewer.

    `queries` (m, d) and `corpus` (n, d) are float32, and `searcher` holds the same n vectors. With `exact`, the result is
    the one that a float64 search over all documents gives, whatever the blocks and threads. `longest_document` is
    `longest(corpus)`, when it is known. Raises ArtefactError when the searcher's scores are not those of `corpus`.
    """
    k = min(depth, len(corpus))
    if exact and isinstance(searcher, Joined):
        return _join(searcher, queries, corpus, k)
    rows = np.full((len(queries), k), -1, dtype=np.int32)
    scores = np.full((len(queries), k), -np.inf)
    deepened = 0
    bound = error_bound(queries, longest(corpus) if longest_document is None else longest_document)
    todo = np.arange(len(queries) if k else 0)
    fetch = first = min(len(corpus), k + max(8, k // 8))
    while len(todo):
        unsafe = []
        for part in np.array_split(todo, -(-len(todo) * fetch // _HITS)):
            found = _search_block(
                searcher, queries[part], corpus, k=k, fetch=fetch, bound=bound[part] if exact else None
            )
            rows[part], scores[part], safe = found
            unsafe.append(part[~safe])
        todo = np.concatenate(unsafe)
        if fetch == first:
            deepened = len(todo)
        fetch = min(len(corpus), 2 * fetch)
    return Hits(rows, scores, {"deepened": deepened, "missing": int((rows < 0).sum())})


def _join(searcher: Joined, queries: np.ndarray, corpus: np.ndarray, k: int) -> Hits:
    """The k best. How often a query is asked for again hangs on the processor, so it is not counted."""
    if few(len(queries) * len(corpus), corpus.shape[1]):
        return _all(queries, corpus, k)
    corpus = flat(corpus)  # once: it is a copy where its rows do not lie one after the other
    rows = np.full((len(queries), k), -1, dtype=np.int32)
    scores = np.full((len(queries), k), -np.inf)
    todo, fetch = np.arange(len(queries) if k else 0), k
    while len(todo):
        threads = searcher.threads(len(todo))

        def settle(part: np.ndarray, fetch: int = fetch, threads: int = threads) -> np.ndarray:
            """Fills the rows and scores of some queries; returns those that are not certain."""
            together = part[-1] - part[0] + 1 == len(part)  # which saves a copy
            asked = queries[part[0] : part[-1] + 1] if together else queries[part]
            start, unsafe = 0, [part[:0]]
            for found in searcher.candidates(asked, k, fetch, share=threads):
                of = part[start : start + len(found.limits)]
                settled = _settle(found, asked[start : start + len(of)], corpus, k)
                rows[of], scores[of] = settled.rows, settled.scores
                unsafe.append(of[~settled.certain])
                start += len(of)
            return np.concatenate(unsafe)

        parts = np.array_split(todo, min(len(todo), max(threads, -(-len(todo) * 2 * fetch // _HITS))))
        with one_thread_each() if threads > 1 else nullcontext():
            todo = np.concatenate(list(spread(settle, parts, threads)))
        fetch = min(len(corpus), 4 * fetch)
    return Hits(rows, scores, {"deepened": 0, "missing": 0})


def _all(queries: np.ndarray, corpus: np.ndarray, k: int) -> Hits:
    """The k best of few documents, by scoring each."""
    i, j = (index.ravel() for index in np.indices((len(queries), len(corpus)), dtype=np.int32))
    negated = -score_pairs(queries, corpus, i, j).reshape(len(queries), len(corpus))
    rows = np.argsort(negated, axis=1, kind="stable")[:, :k]
    scores = -np.take_along_axis(negated, rows, axis=1) + 0.0
    return Hits(rows.astype(np.int32), scores, {"deepened": 0, "missing": 0})


class _Settled(NamedTuple):
    rows: np.ndarray
    scores: np.ndarray
    certain: np.ndarray  # bool (m,)


def _settle(found: Candidates, queries: np.ndarray, corpus: np.ndarray, k: int) -> _Settled:
    """The k best of the candidates by float64 score. Raises ArtefactError when a score breaks its bound."""
    from stages.compiled.products import best

    rows = np.full((len(queries), k), -1, dtype=np.int32)
    scores = np.full((len(queries), k), -np.inf)
    worst = np.empty(1)
    wrong = best(
        flat(queries), corpus, found.offsets, found.rows, found.least, found.most, found.likely, GRID,
        rows, scores, worst,
    )  # fmt: skip
    if wrong >= 0:
        raise ArtefactError(
            "the index's scores are not those of the stored vectors",
            got=f"at least {found.least[wrong]} from the index, {worst[0]} from the vectors",
            try_="run the index stage again",
        )
    return _Settled(rows, scores, scores[:, -1] > found.limits)


def _search_block(
    searcher: Searcher, queries: np.ndarray, corpus: np.ndarray, *, k: int, fetch: int, bound: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and scores (m, k) of the best among `fetch` documents a query, and which queries are certain: bool (m,).

    `bound` is what float32 scores may be off by: (m,), or None for an approximate index, where nothing can be certain and
    everything counts as done.
    """
    rough, found = searcher.search(queries, fetch)
    present = found >= 0
    i, j = np.nonzero(present)
    rescored = np.full(found.shape, -np.inf)
    rescored[i, j] = score_pairs(queries, corpus, i, found[i, j])
    order = np.lexsort((np.where(present, found, len(corpus)), -rescored), axis=-1)[:, :k]
    rows, scores = np.take_along_axis(found, order, axis=1), np.take_along_axis(rescored, order, axis=1)
    if bound is None:
        return rows, scores, np.ones(len(rows), dtype=bool)
    _same_vectors(present, rough, rescored, bound)
    if fetch == len(corpus):
        return rows, scores, np.ones(len(rows), dtype=bool)
    # A document that was not fetched has at most the last float32 score, so its own is at most `bound` above that.
    return rows, scores, rough[:, -1] + bound < scores[:, -1]


def _same_vectors(present: np.ndarray, rough: np.ndarray, rescored: np.ndarray, bound: np.ndarray) -> None:
    if not present.all():
        raise ArtefactError("the exact index found fewer documents than it holds", try_="run the index stage again")
    apart = np.abs(rough - rescored) > bound[:, None]
    if apart.any():
        q, r = np.argwhere(apart)[0]
        raise ArtefactError(
            "the index's scores are not those of the stored vectors",
            got=f"{rough[q, r]} from the index, {rescored[q, r]} from the vectors",
            try_="run the index stage again",
        )
