"""Makes the batch of a number: which examples, their texts as tokens, and which documents are known to be relevant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from sentence_transformers import SentenceTransformer

from stages.examples import Known
from stages.guidance import Guidance
from stages.spec import Source
from stages.text import join_title
from stages.training.plan import Plan


class Texts:
    """The texts of some rows of a table, with a prompt for each."""

    def __init__(self, rows: np.ndarray, texts: pa.Array, prompts: pa.Array) -> None:
        """Rows ascending, int (n,); texts and prompts of these rows, strings (n,)."""
        self._rows, self._texts, self._prompts = rows, texts, prompts

    def of(self, rows: np.ndarray) -> tuple[list[str], list[str]]:
        """Texts and prompts of rows, which may repeat."""
        places = pa.array(np.searchsorted(self._rows, rows))
        return self._texts.take(places).to_pylist(), self._prompts.take(places).to_pylist()


def texts_of(source: Source, rows: np.ndarray, prompt: str) -> Texts:
    """The texts of some rows as they are encoded, int (n,) ascending. A prompt of a query's own stands in for `prompt`."""
    titled, prompted = "title" in source.schema.names, "prompt" in source.schema.names
    texts: list[str] = []
    prompts: list[str] = []
    optional = ["title"] * titled + ["prompt"] * prompted
    for batch in source.batches(["row", "text", *optional]):
        first = batch["row"][0].as_py() if batch.num_rows else 0
        inside = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + batch.num_rows)] - first
        found = batch.take(pa.array(inside))
        titles = found["title"].to_pylist() if titled else [None] * len(inside)
        texts += [join_title(title, text) for title, text in zip(titles, found["text"].to_pylist(), strict=True)]
        prompts += (
            [prompt if own is None else own for own in found["prompt"].to_pylist()]
            if prompted
            else [prompt] * len(inside)
        )
    return Texts(rows, pa.array(texts, pa.large_string()), pa.array(prompts, pa.string()).dictionary_encode())


@dataclass(frozen=True)
class Collator:
    """Makes a batch from its number in the plan: tokens, and which documents are known to be relevant."""

    plan: Plan
    known: Known
    queries: Texts
    documents: Texts
    module: SentenceTransformer
    max_tokens: int | None
    pass_rows: int
    guidance: Guidance | None = None
    share: tuple[int, int] = (0, 1)
    """Which of how many processes this is: it has every so-manyth pass."""

    def __call__(self, numbers: Sequence[int]) -> dict[str, Any]:
        examples, picked = self.plan.batch(*numbers)
        queries = examples.queries[picked]  # (B,)
        documents = np.concatenate([examples.positives[picked], examples.negatives_of(picked)])  # (M,)
        owners = np.concatenate([np.arange(len(picked)), examples.owners_of(picked)])  # (M,)
        guidance = self.guidance.of(queries, documents, owners) if self.guidance else {}
        return {
            "query": self.tokens("query", *self.queries.of(queries)),
            "document": self.tokens("document", *self.documents.of(documents)),
            "known": torch.from_numpy(self.known.mask(queries, documents)),  # (B, M)
            "owners": torch.from_numpy(owners),
            "number": numbers[0],
            "guidance": {name: torch.from_numpy(values) for name, values in guidance.items()},
        }

    @property
    def limit(self) -> int | None:
        """Tokens of a text at most."""
        own = self.module.max_seq_length
        limits = [limit for limit in (own, self.max_tokens) if limit is not None and math.isfinite(limit)]
        return min(limits, default=None)

    def tokens(self, role: str, texts: list[str], prompts: list[str]) -> dict[str, Any]:
        """Tokens in passes of texts with one prompt and of about one length, so that little of a pass is padding."""
        passes: list[list[int]] = []
        rank, size = self.share
        for prompt in sorted(set(prompts)):
            order = sorted((i for i, own in enumerate(prompts) if own == prompt), key=lambda i: len(texts[i]))
            rows = min(self.pass_rows, -(-len(order) // size))
            passes += [order[start : start + rows] for start in range(0, len(order), rows)]
        cap = {} if self.max_tokens is None else {"max_length": self.limit}
        tokens = [
            dict(self.module.preprocess([texts[i] for i in rows], prompt=prompts[rows[0]] or None, task=role, **cap))
            for rows in passes[rank::size]
        ]
        owner = np.repeat(np.arange(len(passes)), [len(rows) for rows in passes])
        return {
            "passes": tokens,
            "own": torch.from_numpy(np.flatnonzero(owner % size == rank)),
            "places": torch.from_numpy(np.argsort(np.concatenate(passes), kind="stable")),
            "at_limit": sum(self._at_limit(features) for features in tokens),
        }

    def _at_limit(self, features: dict[str, Any]) -> int:
        """Texts that take all the tokens there may be: most of them are cut."""
        if self.limit is None or "attention_mask" not in features:
            return 0
        return int((features["attention_mask"].sum(dim=1) >= self.limit).sum())
