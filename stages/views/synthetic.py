"""Queries that a language model writes for each document, kept when they find it again.

Nogueira and Lin, "From doc2query to docTTTTTquery", 2019 (a local model that samples queries); Dai et al., "Promptagator:
Few-shot Dense Retrieval From 8 Examples", ICLR 2023, section 3.2 (a query is kept only when its own document is among the first K
that a retriever finds for it: K = 1 there, with a retriever trained on the same queries). The default here is a looser K, for BM25
misses paraphrases.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Annotated, ClassVar, cast

import pyarrow as pa
from pydantic import Field, field_validator

from stages.errors import ConfigError
from stages.records import is_blank, stable_hash, wrong_string
from stages.registry import Member, OneOf, build
from stages.retrieval import Opens
from stages.spec import Context
from stages.text import join_title, normalise
from stages.viewing import OpenWriter, Passage, Passages, Writer, clean
from stages.views._round_trip import finds

WRITTEN = pa.schema(
    [
        pa.field("text", pa.binary(16), nullable=False),
        pa.field("queries", pa.list_(pa.field("item", pa.large_string(), nullable=False)), nullable=False),
    ]
)
"""What is remembered of a document: the hash of what was read of it, and the queries as they were written."""


def _bm25() -> Opens:
    return cast(Opens, build("retrievers", "bm25", {}))


class Synthetic(Member):
    """Queries of a language model for each document, or for some of them."""

    takes_titles: ClassVar[bool] = False

    writer: Annotated[Writer, OneOf("writers")] = Field(
        description="what writes: `endpoint` asks any OpenAI-compatible one, `local` runs a model of a folder; nearly all of the cost"
    )
    queries: int = Field(
        3, ge=1, description="queries a document at most; cost grows with it, and so does the number of pairs"
    )
    documents: int | None = Field(
        None,
        ge=1,
        description="documents that are written for, those with the smallest stable hash of their id; none: all of them",
    )
    within: int = Field(
        10,
        ge=0,
        description="a query is kept when its own document is among the first this many that `check` finds; lower drops more "
        "queries, good ones too; 0 keeps all",
    )
    check: Annotated[Opens, OneOf("retrievers")] = Field(
        default_factory=_bm25,
        description="what searches for the documents: bm25, or an encoder, which encodes all of them",
    )

    @field_validator("check")
    @classmethod
    def _searches(cls, check: Opens) -> Opens:
        if not hasattr(check, "open"):
            raise ConfigError(
                f"the retriever {check.name!r} cannot check queries: it needs an index, which comes later",
                where="views.synthetic.check",
                try_='name = "bm25", or name = "encoder"',
            )
        return check

    def fingerprint(self) -> str:
        """A hash over the writer and, where queries are checked, over what checks them."""
        return f"{self.writer.fingerprint()} {self.check.fingerprint() if self.within else ''}"

    def open(self, context: Context) -> _Maker:
        return _Maker(self, context)


class _Maker:
    """The view at work: writes on the first call, and holds the queries that were kept."""

    def __init__(self, view: Synthetic, context: Context) -> None:
        self._view, self._context = view, context
        self._made: list[tuple[int, str]] | None = None
        self.counts: dict[str, int] = {}

    def make(self, passages: Passages) -> Iterator[tuple[int, str]]:
        if self._made is None:
            self._made = self._checked(passages, self._written(passages))
        yield from self._made

    def _written(self, passages: Passages) -> list[tuple[int, str]]:
        """The queries of every document, each text once a document, by the document's place."""
        view, writer = self._view, self._view.writer.open(self._context)
        chosen = self._chosen(passages)
        memory = _Memory(writer, view.queries, self._context)
        made: list[tuple[int, str]] = []
        counts = {"documents_asked": 0, "documents_without": 0, "written": 0}
        with self._context.progress("writing queries", sum(1 for _ in chosen())) as bar:
            read = chosen()
            while chunk := list(islice(read, view.writer.chunk)):
                answers = memory.answers([join_title(passage.title, passage.text) for _, passage in chunk])
                for (place, _), answer in zip(chunk, answers, strict=True):
                    found = _distinct(answer)[: view.queries]
                    counts["documents_asked"] += 1
                    counts["documents_without"] += not found
                    counts["written"] += len(found)
                    made += [(place, query) for query in found]
                bar.advance(len(chunk))
        self.counts = counts | {f"writer.{name}": count for name, count in writer.counts.items()}
        return made

    def _chosen(self, passages: Passages) -> Callable[[], Iterator[tuple[int, Passage]]]:
        limit = self._view.documents
        if limit is None:
            return lambda: enumerate(passages())
        keys = ((stable_hash(passage.id), place) for place, passage in enumerate(passages()))
        places = {place for _, place in heapq.nsmallest(limit, keys)}
        return lambda: ((place, passage) for place, passage in enumerate(passages()) if place in places)

    def _checked(self, passages: Passages, made: list[tuple[int, str]]) -> list[tuple[int, str]]:
        """The queries that find their own document."""
        view = self._view
        if not view.within or not made:
            return made
        kept = finds(made, passages, view.check, view.within, self._context)
        self.counts["dropped_not_found"] = int((~kept).sum())
        self._context.log(
            f"{view.name}: {int(kept.sum()):,} of {len(made):,} written queries find their own document among the first "
            f"{view.within} of {view.check.name}; the others are dropped"
        )
        return [each for each, keep in zip(made, kept, strict=True) if keep]


class _Memory:
    """What was written before. Answers are stored as soon as they are there; what has no answer is asked again."""

    def __init__(self, writer: OpenWriter, queries: int, context: Context) -> None:
        self._writer, self._queries, self._cache = writer, queries, context.cache
        self._name = f"write/{writer.key}-{queries}"
        stored = self._cache.read(self._name)
        self._known: dict[bytes, list[str]] = {}
        if stored is not None and stored.schema.equals(WRITTEN):
            self._known = dict(zip(*(column.to_pylist() for column in stored.columns), strict=True))

    def answers(self, texts: Sequence[str]) -> list[list[str]]:
        """The queries of each text as they were written; none where there is no answer."""
        keys = [blake2b(text.encode(), digest_size=16).digest() for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        if missing:
            written = self._writer.write(list(missing.values()), self._queries)
            fresh = {key: found for key, found in zip(missing, written, strict=True) if found is not None}
            if fresh:
                self._cache.add(self._name, pa.table([list(fresh), list(fresh.values())], schema=WRITTEN))
            self._known |= fresh
        return [self._known.get(key, []) for key in keys]


def _distinct(written: Sequence[str]) -> list[str]:
    """Queries that are texts, cleaned, without those that repeat an earlier one."""
    found: dict[str, str] = {}
    for query in map(clean, written):
        if not is_blank(query) and wrong_string(query, "a query") is None:
            found.setdefault(normalise(query), query)
    return list(found.values())
