"""Another bi-encoder beside the round's own, so that several encoders search together.

It encodes the corpus within the search, which costs what the embed stage costs. Where that is too dear, or the vectors
are made elsewhere, give its TREC run to the retriever `run` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal, Protocol, cast

import numpy as np
from pydantic import Field

from stages.errors import InputError
from stages.registry import Member, OneOf, build
from stages.retrieval import Collection
from stages.scoring import longest
from stages.search import Index, Searcher, certified_search

_BLOCK = 8_192  # texts encoded in one call, always the same ones
_QUERIES = 4_096  # queries a call of the index


class LoadedEncoder(Protocol):
    """A model in memory. `counts` grows with every call."""

    counts: dict[str, int]

    def encode(self, texts: Sequence[str], role: str, prompts: Sequence[str | None] | None = None) -> np.ndarray:
        """Embeddings float32 (n, d); `role` is query or document."""
        ...


class TextEncoder(Protocol):
    """A kind of encoder, one file in `encoders/`."""

    def fingerprint(self) -> str: ...

    def load(self, device: str, precision: str) -> LoadedEncoder: ...


class Encoder(Member):
    """Exact search by the inner products of another model's vectors."""

    encoder: Annotated[TextEncoder, OneOf("encoders")] = Field(
        description="the model, as the table [encoder] names one; nearly all of the cost"
    )
    label: str | None = Field(
        None,
        pattern=r"^[\w.-]+$",
        description="name among the results, where two have the same kind; none is `encoder`",
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="arithmetic of the model; bf16 is about twice as fast on a GPU, at a cosine of .9999 to fp32",
    )

    def fingerprint(self) -> str:
        """sha256 over everything that can change a vector. Needs no torch."""
        return self.encoder.fingerprint()

    def open(self, collection: Collection) -> EncoderIndex:
        """Encodes documents and queries, or finds them encoded. Raises InputError for vectors that are not finite."""
        both = collection.kept(self.label or self.name, lambda: self._encode(collection))
        documents = both["documents"]
        flat = cast(Index, build("indexes", "flat", {}))
        searcher = flat.build([documents], *documents.shape)
        return EncoderIndex(searcher, documents, both["queries"], {"truncated": int(both["truncated"])})

    def _encode(self, collection: Collection) -> dict[str, np.ndarray]:
        model = self.encoder.load(collection.device, self.precision)
        label = self.label or self.name

        def encoded(says: str, count: int, encode: Callable[[slice], np.ndarray]) -> np.ndarray:
            blocks = []
            with collection.progress(f"{label}: {says}", count) as bar:
                for start in range(0, count, _BLOCK):
                    blocks.append(encode(slice(start, start + _BLOCK)))
                    bar.advance(len(blocks[-1]))
            values = np.concatenate(blocks)
            if not np.isfinite(values).all():
                row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
                raise InputError(f"{label} gives a vector that is not finite", where=says, got=f"number {row}")
            return values

        texts, asked, prompts = collection.texts, collection.query_texts, collection.prompts
        documents = encoded("documents", len(texts), lambda part: model.encode(texts[part], "document"))
        queries = encoded("queries", len(asked), lambda part: model.encode(asked[part], "query", prompts[part]))
        truncated = np.array(model.counts.get("truncated", 0))
        return {"documents": documents, "queries": queries, "truncated": truncated}


class EncoderIndex:
    """An encoded corpus with the queries that will be asked."""

    def __init__(self, searcher: Searcher, documents: np.ndarray, queries: np.ndarray, counts: dict[str, int]) -> None:
        self._searcher, self._documents, self._queries, self.counts = searcher, documents, queries, counts
        self._longest = longest(documents)

    def search(self, which: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `stages.retrieval.Opened.search`; the result is that of a float64 search over all documents."""
        blocks = [
            certified_search(
                self._searcher,
                self._queries[which[start : start + _QUERIES]],
                self._documents,
                k,
                True,
                longest_document=self._longest,
            )
            for start in range(0, len(which), _QUERIES)
        ]
        if not blocks:
            return np.empty((0, k), dtype=np.int32), np.empty((0, k))
        return np.concatenate([b.rows for b in blocks]), np.concatenate([b.scores for b in blocks])
