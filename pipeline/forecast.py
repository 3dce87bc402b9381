"""What a run takes by the numbers of its rows: seconds, bytes on disk, bytes of memory. The probe of `check` measures the model.

The constants are core-seconds and bytes a row, measured on runs of two collections; docs/tutorial.md shows how near they come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HIT, DEEPER, EXPORTED, REPORT = 3.0e-6, 2.0, 3.3e-8, 10.0
"""Seconds a hit of evaluate; searches of deepen in those of mine; seconds a byte exported; of the report."""

TRANSFORMER_STEP, OTHER_STEP = 4.0, 1.5
"""A step of training in forward passes of the same texts, which are padded to the longest then. A static encoder's took 0.9."""

TEXT_SHARE, EXPORT_SHARE = 0.3, 0.5
"""Bytes in Parquet of a byte of text; of a target, of which some are Parquet and others lines of JSON."""

KEY, CANDIDATE, JUDGED, TRIPLET, HIT_BYTES, RUN_LINE, QREL = 28, 9, 16, 12, 9, 28, 2
"""Bytes on disk of a row: beside a vector, of candidates, judged, triplets, hits, of a run beside its two ids, of qrels."""

HELD, LIBRARIES = 80, 250 << 20
"""Bytes of memory a hit while it is measured; of what training and the report import."""

REPORT_BYTES = 4 << 20


@dataclass(frozen=True)
class Work:
    """The rows of a run and the bytes in them."""

    documents: int
    queries: int
    searched: int  # queries that are mined for
    tested: int  # queries that are evaluated
    pairs: int  # of query and positive in train
    qrels: int
    dimensions: int
    depth: int  # of mine
    cutoff: int  # of evaluate
    negatives: int
    targets: int
    rounds: int
    systems: int  # whose hits are evaluated in the first round: the model, and BM25
    document_bytes: float
    query_bytes: float
    id_bytes: float  # of both ids of a line
    weights: int  # bytes of the model
    activations: int  # bytes that a step of training holds between its two passes

    @property
    def hits(self) -> int:
        """Of one system."""
        return self.tested * min(self.cutoff, self.documents)

    @property
    def runs(self) -> int:
        """Evaluations of a system."""
        return self.systems + self.rounds

    @property
    def candidates(self) -> int:
        """Of one round."""
        return self.searched * min(self.depth, self.documents)

    @property
    def exported(self) -> float:
        """Bytes of all targets of a round."""
        texts = self.query_bytes + (1 + self.negatives) * self.document_bytes
        return EXPORT_SHARE * self.targets * self.pairs * texts


def seconds(work: Work, *, encode: float, step: float, mine: float, read: float, trained: float) -> dict[str, float]:
    """Core-seconds by stage: `encode` all texts once, `step` a pair of training forward, `mine` once, `read` the data set."""
    rounds = work.rounds
    return {
        "ingest": read,
        "embed": (rounds + 1) * encode,
        "mine": max(rounds, 1) * (1 + DEEPER) * mine,
        "export": max(rounds, 1) * EXPORTED * work.exported,
        "train": rounds * (TRANSFORMER_STEP if work.activations else OTHER_STEP) * step * trained,
        "evaluate": work.runs * work.hits * HIT,
        "report": REPORT,
    }


def disk(work: Work) -> int:
    """Bytes of a workspace."""
    texts = TEXT_SHARE * (work.documents * work.document_bytes + work.queries * work.query_bytes) + QREL * work.qrels
    vectors = (4 * work.dimensions + KEY) * (work.documents + work.queries) + 4 * work.dimensions * work.documents
    mined = work.candidates * (CANDIDATE + 2 * JUDGED) + work.pairs * work.negatives * TRIPLET
    evaluated = work.runs * work.hits * (HIT_BYTES + RUN_LINE + work.id_bytes)
    rounds = max(work.rounds, 1)
    return int(
        texts + (work.rounds + 1) * vectors + rounds * (mined + work.exported) + evaluated
        + work.rounds * work.weights + REPORT_BYTES
    )  # fmt: skip


def memory(work: Work, bare: int) -> int:
    """Bytes of the process at its largest; `bare` with the model and no rows."""
    vectors = 4 * work.dimensions * (work.documents + work.queries)
    training = 3 * work.weights + work.activations if work.rounds else 0  # gradients, two moments
    return bare + 2 * vectors + LIBRARIES + max(HELD * work.systems * work.hits, training)


def activations(config: Mapping[str, Any], tokens: int, texts: int) -> int:
    """Bytes that a transformer holds of `texts` of `tokens` each for its backward pass, in float32; 0 for another kind of model.

    Korthikanti et al., "Reducing Activation Recomputation in Large Transformer Models", 2022, equation 1, with values of four
    bytes in place of two. `config` is the model's config.json.
    """
    layers, hidden, heads = (
        int(config.get(f"num_{n}", config.get(n, 0))) for n in ("hidden_layers", "hidden_size", "attention_heads")
    )
    return 2 * layers * texts * tokens * (34 * hidden + 5 * heads * tokens)
