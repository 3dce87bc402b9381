"""What a teacher is given: pairs of query and document by row, their texts, and a memory for what it has scored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.spec import Cache, Source
from stages.text import joined

SCORED = pa.schema(
    [
        pa.field("pair", pa.binary(32), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("truncated", pa.bool_(), nullable=False),
    ]
)
"""What is remembered of a pair: the hash of both texts, the score, and whether the model saw all of the texts."""

Log = Callable[[str], None]


@dataclass(frozen=True)
class Pairs:
    """n pairs, ordered by (query_row, doc_row), each once."""

    queries: Source
    corpus: Source
    query_row: np.ndarray  # int32 (n,)
    doc_row: np.ndarray  # int32 (n,)
    rank: np.ndarray  # int32 (n,), from 1; 0 for a positive that is no candidate
    positive: np.ndarray  # bool (n,), whether the pair is known to be relevant

    def __len__(self) -> int:
        return len(self.query_row)

    def texts(self) -> Texts:
        """The texts of the pairs, without the prompts that queries have for encoders."""
        query, query_place = np.unique(self.query_row, return_inverse=True)
        doc, doc_place = np.unique(self.doc_row, return_inverse=True)
        asked = take(self.queries, ["text"], query)["text"].to_pylist()
        return Texts(asked, joined(take(self.corpus, ["title", "text"], doc)), query_place, doc_place)


@dataclass(frozen=True)
class Texts:
    """Texts of n pairs, each distinct row once."""

    queries: list[str]
    documents: list[str]
    query: np.ndarray  # int64 (n,), places in queries
    document: np.ndarray  # int64 (n,), places in documents

    def pairs(self, places: np.ndarray) -> list[tuple[str, str]]:
        """Query and document of the pairs at int64 (m,)."""
        return [
            (self.queries[q], self.documents[d]) for q, d in zip(self.query[places], self.document[places], strict=True)
        ]

    def keys(self) -> pa.Array:
        """A hash of both texts to the letter, for each pair: binary(32)."""
        both = np.concatenate([_digests(self.queries)[self.query], _digests(self.documents)[self.document]], axis=1)
        data = np.ascontiguousarray(both).tobytes()
        return pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), len(both), [None, pa.py_buffer(data)])


def _digests(texts: Sequence[str]) -> np.ndarray:
    """uint8 (n, 16)."""
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts)
    return np.frombuffer(digests, dtype=np.uint8).reshape(-1, 16)


def take(source: Source, columns: Sequence[str], rows: np.ndarray) -> pa.Table:
    """The rows of a table at places (m,) that ascend, in one pass with memory for what is taken."""
    start, found = 0, []
    for batch in source.batches(columns):
        low, high = np.searchsorted(rows, [start, start + batch.num_rows])
        if high > low:
            found.append(batch.take(pa.array(rows[low:high] - start)))
        start += batch.num_rows
    return pa.Table.from_batches(found, schema=pa.schema([source.schema.field(name) for name in columns]))


def blocks(source: Source, columns: Sequence[str], size: int) -> Iterator[pa.Table]:
    """The whole table in blocks of `size` rows, whatever its own batches are; the last block may be shorter."""
    held: list[pa.RecordBatch] = []
    for batch in source.batches(columns, rows=size):
        held.append(batch)
        if sum(each.num_rows for each in held) >= size:
            whole = pa.Table.from_batches(held)
            yield whole.slice(0, size)
            held = whole.slice(size).to_batches()
    if held:
        yield pa.Table.from_batches(held)


@dataclass(frozen=True)
class Scored:
    """Scores of n pairs, and for which of them the model saw less than the texts."""

    score: np.ndarray  # float64 (n,), NaN where there is none
    truncated: np.ndarray  # bool (n,)


def remembered(
    cache: Cache,
    name: str,
    texts: Texts,
    wanted: np.ndarray,
    *,
    chunk: int,
    score: Callable[[list[tuple[str, str]]], Scored],
) -> Scored:
    """Scores of the pairs that are `wanted`, bool (n,); NaN for the others.

    Pairs with the same texts are scored once, and what the cache holds under `name` is not scored again. `score` gets up
    to `chunk` pairs at a time, and what it gives is stored at once; scores that are NaN are not stored. For the result
    not to hang on the cache, `score` must give a pair the same score in whatever company.
    """
    found = Scored(np.full(len(wanted), np.nan), np.zeros(len(wanted), dtype=bool))
    if not wanted.any():
        return found
    places = np.flatnonzero(wanted)
    coded = texts.keys().take(pa.array(places)).dictionary_encode()
    keys, code = coded.dictionary, coded.indices.to_numpy()
    values, cut = np.full(len(keys), np.nan), np.zeros(len(keys), dtype=bool)
    stored = cache.read(name)
    if stored is not None and stored.schema.equals(SCORED):
        at = pc.index_in(keys, value_set=stored["pair"].combine_chunks())
        hits = np.flatnonzero(at.is_valid().to_numpy(zero_copy_only=False))
        rows = at.drop_null()
        values[hits] = stored["score"].take(rows).to_numpy()
        cut[hits] = stored["truncated"].take(rows).to_numpy()
    first = np.full(len(keys), len(code))
    np.minimum.at(first, code, np.arange(len(code)))
    missing = np.flatnonzero(np.isnan(values))
    for start in range(0, len(missing), chunk):
        part = missing[start : start + chunk]
        fresh = score(texts.pairs(places[first[part]]))
        values[part], cut[part] = fresh.score, fresh.truncated
        known = part[~np.isnan(fresh.score)]
        if len(known):
            columns = [keys.take(pa.array(known)), pa.array(values[known]), pa.array(cut[known])]
            cache.add(name, pa.Table.from_arrays(columns, schema=SCORED))
    found.score[places], found.truncated[places] = values[code], cut[code]
    return found
