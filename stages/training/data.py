"""What a training reads: its examples, what is known to be relevant, and what a guide says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from stages.errors import YieldError
from stages.examples import Examples, Known, Pairs, examples
from stages.guidance import Scores, Vectors
from stages.relabelled import with_relabelled
from stages.scopes import Scopes
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


class Relevance(NamedTuple):
    """What is known to be relevant in all splits, what judge promoted included, and which texts are the same."""

    qrels: pa.Table  # query_row, doc_row, relevance, split
    queries: np.ndarray  # hashes of the queries' texts by row, int64
    documents: np.ndarray  # of the documents' texts

    @classmethod
    def read(cls, inputs: Inputs) -> Relevance:
        """Reads each table once."""
        qrels = inputs["qrels"].read(["query_row", "doc_row", "relevance", "split"])
        promoted = inputs["promoted"].read(["query_row", "doc_row", "source"])
        hashes = (inputs[name].read(["text_hash"])["text_hash"].to_numpy() for name in ("queries", "corpus"))
        return cls(with_relabelled(qrels, promoted), *hashes)

    def known(self) -> Known:
        """What is no negative: a document of the test split is none either."""
        return Known(*self)


def pairs_of(
    inputs: Inputs,
    relevance: Relevance,
    scores: Scores | None,
    *,
    taken: Literal["all", "mined"],
    limit: int | None,
    log: Callable[[str], None],
) -> tuple[Pairs, dict[str, int]]:
    """The examples to train on, with `limit` negatives each at most, and the counters of how they came about.

    With a teacher's scores these are the mined ones that have scores: of any other there is nothing to learn.
    Raises YieldError when there are none.
    """
    triplets = inputs["triplets"].read(["query_row", "positive_row", "negative_row"])
    unscored: dict[str, int] = {}
    if scores is not None:
        triplets, unscored = scores.scored(triplets)
        for reason, count in unscored.items():
            if count:
                log(f"{count} {reason.replace('.', ', their ').replace('_', ' ')}, are left out")
        taken = "mined"
    mined, counters = examples(relevance.qrels, triplets, None, taken)
    counters |= unscored
    if not len(mined):
        raise YieldError(
            "there is nothing to train on", got=f"{counters['pairs']} pairs in the split train, {len(triplets)} triplets",
            try_="wider filters, qrels for the split train, or train.pairs = \"all\"",
        )  # fmt: skip
    alone, foreign = counters["pairs.without_negatives"], counters["triplets.not_of_train"]
    if alone:
        fate = "have in-batch negatives only" if taken == "all" else "are left out"
        log(f"{alone} of {counters['pairs']} pairs have no mined negative and {fate}")
    if foreign:
        log(f"{foreign} triplets belong to no pair of the split train and are left out")
    chosen = mined if limit is None else mined.first(limit)
    counters["pairs.relabelled"] = inputs["promoted"].rows
    counters["triplets.over_limit"] = len(mined.negatives) - len(chosen.negatives)
    groups = inputs["corpus"].read(["group"])["group"].combine_chunks().dictionary_encode().indices
    source = groups.fill_null(-1).to_numpy()[chosen.positives]
    shown = Scopes.of(inputs).shown
    both = None if shown is None or len(np.unique(shown[chosen.queries])) < 2 else shown[chosen.queries]
    return Pairs(chosen, mined, relevance.queries[chosen.queries], relevance.documents, source, both), counters


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
