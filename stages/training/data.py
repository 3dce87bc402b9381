"""What a training reads beside its examples: what is known to be relevant, and what a guide says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from stages.examples import Examples, Known
from stages.guidance import Vectors
from stages.relabelled import with_relabelled
from stages.spec import Inputs


class Guide(Protocol):
    """An encoder that is only asked."""

    @property
    def query_prompt(self) -> str: ...

    @property
    def document_prompt(self) -> str: ...

    def fingerprint(self) -> str: ...

    def load(self, device: str, precision: str) -> Any:
        """The model in memory: `encode(texts, role, prompts)` gives embeddings, float32 (n, d)."""
        ...


def known_of(inputs: Inputs) -> Known:
    """What is known to be relevant, in all splits: a document of the test split is no negative either."""
    hashes = [inputs[name].read(["text_hash"])["text_hash"].to_numpy() for name in ("queries", "corpus")]
    return Known(qrels_of(inputs), *hashes)


def qrels_of(inputs: Inputs) -> pa.Table:
    """What is known to be relevant, what judge promoted included."""
    qrels = inputs["qrels"].read(["query_row", "doc_row", "relevance", "split"])
    return with_relabelled(qrels, inputs["promoted"].read(["query_row", "doc_row", "source"]))


def guided(
    guide: Guide, inputs: Inputs, chosen: Examples, *, device: str, precision: str, log: Callable[[str], None]
) -> tuple[Vectors, Vectors]:
    """What the guide makes of the queries and of the documents that are trained on."""
    from stages.training.collator import texts_of

    loaded, found = guide.load(device, precision), []
    for role, name, rows, prompt in (
        ("query", "queries", np.unique(chosen.queries), guide.query_prompt),
        ("document", "corpus", np.union1d(chosen.positives, chosen.negatives), guide.document_prompt),
    ):
        texts, prompts = texts_of(inputs[name], rows, prompt).of(rows)
        log(f"the guide encodes {len(texts)} {'queries' if name == 'queries' else 'documents'}")
        found.append(Vectors(rows, loaded.encode(texts, role, prompts)))
    return found[0], found[1]
