"""BM25 over stemmed words (bm25s with PyStemmer)."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from stages.errors import ConfigError, InputError, suggestion
from stages.registry import Member
from stages.retrieval import Collection, best

Stopwords = Literal[
    "none", "en", "en_plus", "da", "de", "es", "fr", "it", "ko", "nl", "no", "pt", "ru", "sv", "tr", "zh"
]  # fmt: skip


def _bm25s() -> Any:
    """The library, without JAX: it would try JAX's top_k at once, and that takes three quarters of a GPU's memory."""
    if "bm25s" not in sys.modules and "jax" not in sys.modules:
        sys.modules["jax"] = None  # type: ignore[assignment]
        try:
            import bm25s
        finally:
            del sys.modules["jax"]
    import bm25s

    return bm25s


class Bm25(Member):
    """BM25 as one of its common variants; Kamphuis et al. (ECIR 2020) give the formula of each."""

    k1: float = Field(
        1.5, ge=0, description="How late repeated words stop to count, without unit; 0 counts each word once."
    )
    b: float = Field(
        0.75, ge=0, le=1, description="How much long documents are held back: 0 not at all, 1 in full proportion."
    )
    method: Literal["lucene", "robertson", "atire"] = Field("lucene", description="The variant of the formula.")
    stemmer: str = Field(
        "english", description="A Snowball stemmer, or `none`. One for another language fits only that language."
    )
    stopwords: Stopwords = Field(
        "en", description="Language of the most frequent words, which are left out; or `none`."
    )
    token_pattern: str = Field(
        r"(?u)\b\w\w+\b", description="A regular expression of one word. As it is, single letters are no words."
    )

    @field_validator("token_pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return value

    def fingerprint(self) -> str:
        """Nothing outside of the workspace is read."""
        return ""

    def open(self, collection: Collection) -> Bm25Search:
        """Indexes the collection. Raises InputError when no document holds a word."""
        return Bm25Search(self.build(collection.texts), collection.query_texts)

    def build(self, texts: Sequence[str]) -> Bm25Index:
        """Indexes documents in row order. Raises InputError when none of them holds a word."""
        bm25s = _bm25s()
        tokens = self._tokens(texts)
        if not any(tokens):
            raise InputError(
                "no document holds a word that BM25 could index", got=f"{len(texts)} documents", try_="bm25 = false"
            )
        index = bm25s.BM25(k1=self.k1, b=self.b, method=self.method, dtype="float64")
        index.index(tokens, create_empty_token=False, show_progress=False)
        return Bm25Index(self, index, len(texts))

    def _tokens(self, texts: Sequence[str]) -> list[list[str]]:
        """The words of each text, lower-case and stemmed, in order."""
        tokens: list[list[str]] = _bm25s().tokenize(
            list(texts),
            token_pattern=self.token_pattern,
            stopwords=None if self.stopwords == "none" else self.stopwords,
            stemmer=self._stemmer(),
            return_ids=False,
            show_progress=False,
        )
        return tokens

    def _stemmer(self) -> Any:
        import Stemmer

        if self.stemmer == "none":
            return None
        known = Stemmer.algorithms()
        if self.stemmer not in known:
            raise ConfigError(f"no stemmer {self.stemmer!r}", try_=suggestion(self.stemmer, ["none", *known]))
        return Stemmer.Stemmer(self.stemmer)


class Bm25Index:
    """An indexed corpus that answers `search`."""

    def __init__(self, settings: Bm25, index: Any, documents: int) -> None:
        self._settings, self._index, self._documents = settings, index, documents

    def search(self, queries: Sequence[str], k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best documents of each query, equal scores by row. A document without a word of the query is no hit.

        Returns rows int32 (m, k) and scores float64 (m, k); where there are fewer hits the rest is row -1, score -inf.
        """
        rows = np.full((len(queries), k), -1, dtype=np.int32)
        scores = np.full((len(queries), k), -np.inf)
        for i, words in enumerate(self._settings._tokens(queries)):
            found, values = self._best(words, k)
            rows[i, : len(found)] = found
            scores[i, : len(found)] = values
        return rows, scores

    def _best(self, words: list[str], k: int) -> tuple[np.ndarray, np.ndarray]:
        # bm25s' own top k breaks ties at the cutoff as its partition happens to, so only its scores are used.
        every = self._index.get_scores_from_ids(self._index.get_tokens_ids(words))  # (n,)
        found = best(every, np.flatnonzero(every > 0), k)
        return found, every[found]


class Bm25Search:
    """An indexed corpus with the queries that will be asked."""

    def __init__(self, index: Bm25Index, queries: Sequence[str]) -> None:
        self._index, self._queries = index, queries
        self.counts: dict[str, int] = {}

    def search(self, which: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `stages.retrieval.Opened.search`."""
        return self._index.search([self._queries[i] for i in which.tolist()], k)
