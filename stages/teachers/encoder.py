"""Another bi-encoder as a teacher: the inner product of its vectors of query and document.

Texts are encoded in blocks of rows of their tables, whatever the pairs, and a block's vectors are kept in the cache by
its texts: so neither other pairs nor what is remembered changes a score. Only blocks that a pair needs are encoded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol

import numpy as np
import pyarrow as pa
from pydantic import Field

from stages.arrays import matrix, vector_table
from stages.registry import OneOf
from stages.scoring import score_pairs
from stages.spec import Cache, Source
from stages.teachers._teacher import Labelled
from stages.teaching import Log, Pairs, Scored, blocks
from stages.text import joined

TRUNCATED = "truncated"
"""The column of the cache that says which texts were cut."""

BLOCK = 1_024
"""Texts that are encoded together."""


class LoadedEncoder(Protocol):
    """A model in memory."""

    @property
    def dimensions(self) -> int: ...

    def encode(
        self, texts: Sequence[str], role: str, prompts: Sequence[str | None] | None = None, *, log: Log | None = None
    ) -> np.ndarray:
        """Embeddings float32 (n, d); `role` is query or document, `prompts` gives a text its own prompt."""
        ...

    def truncated(self, texts: Sequence[str], role: str, prompts: Sequence[str | None] | None = None) -> np.ndarray:
        """Which of these texts are too long for the model, and are cut: bool (n,)."""
        ...


class AnyEncoder(Protocol):
    """A member of `encoders/`."""

    def fingerprint(self) -> str: ...

    def load(self, device: str, precision: str) -> LoadedEncoder: ...


class Encoder(Labelled):
    """Scores a pair by the inner product of an encoder's vectors."""

    encoder: Annotated[AnyEncoder, OneOf("encoders")] = Field(
        description="the model; it costs as much as embedding the documents that are candidates"
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="arithmetic of the model; bf16 is faster on a GPU and less exact",
    )

    def fingerprint(self) -> str:
        """sha256 over the encoder's fingerprint and the precision. Needs no torch."""
        parts = json.dumps(["encoder", self.encoder.fingerprint(), self.precision, BLOCK])
        return hashlib.sha256(parts.encode()).hexdigest()

    def open(self, device: str, cache: Cache, log: Log) -> _Scorer:
        """The encoder, which is loaded when the first block has to be encoded."""
        name = f"teach/{self.fingerprint()}-{device.partition(':')[0]}"
        return _Scorer(lambda: self.encoder.load(device, self.precision), cache, name, log)


@dataclass
class _Scorer:
    """An encoder at work."""

    load: Callable[[], LoadedEncoder]
    cache: Cache
    cached: str
    log: Log
    counts: dict[str, int] = field(default_factory=dict)
    loaded: LoadedEncoder | None = None

    def score(self, pairs: Pairs) -> Scored:
        query, query_place = np.unique(pairs.query_row, return_inverse=True)
        document, document_place = np.unique(pairs.doc_row, return_inverse=True)
        if not len(query):
            return Scored(np.empty(0), np.empty(0, dtype=bool))
        asked, long_query = self._vectors(pairs.queries, "query", query)
        answers, long_document = self._vectors(pairs.corpus, "document", document)
        values = score_pairs(asked, answers, query_place, document_place)
        return Scored(values, long_query[query_place] | long_document[document_place])

    def _vectors(self, source: Source, role: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Vectors float32 (m, d) of the rows (m,), which ascend, and which of their texts were cut: bool (m,)."""
        columns = ["text", "prompt"] if role == "query" else ["title", "text"]
        found, long = [], []
        for place, block in enumerate(blocks(source, columns, BLOCK)):
            low, high = np.searchsorted(rows, [place * BLOCK, (place + 1) * BLOCK])
            if high > low:
                vectors, truncated = self._block(block, role)
                found.append(vectors[rows[low:high] - place * BLOCK])
                long.append(truncated[rows[low:high] - place * BLOCK])
        return np.concatenate(found), np.concatenate(long)

    def _block(self, block: pa.Table, role: str) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of a block, from the cache or from the encoder, float32 (b, d); and which texts were cut, bool (b,)."""
        texts = block["text"].to_pylist() if role == "query" else joined(block)
        prompts = block["prompt"].to_pylist() if role == "query" else [None] * len(texts)
        key = hashlib.sha256(json.dumps([role, texts, prompts, TRUNCATED]).encode()).hexdigest()
        stored = self.cache.read(f"{self.cached}/{key}")
        if stored is not None and stored.num_rows == len(texts):
            return matrix(stored), stored[TRUNCATED].to_numpy()
        self.loaded = self.loaded or self.load()
        vectors = self.loaded.encode(texts, role, prompts, log=self.log)
        truncated = self.loaded.truncated(texts, role, prompts)
        table = vector_table(np.arange(len(texts), dtype=np.int32), vectors)
        self.cache.add(f"{self.cached}/{key}", table.append_column(TRUNCATED, pa.array(truncated)))
        return vectors, truncated
