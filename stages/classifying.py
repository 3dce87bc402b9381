"""Whether the pictures of held-out things can be told by class from those of the split train: by neighbours, and by a probe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.errors import ConfigError
from stages.measuring import mean_row
from stages.probing import neighbours, probe
from stages.schemas import METRICS
from stages.search import load_vectors
from stages.spec import Context, Inputs
from stages.statistics import bootstrap_interval
from stages.trec import Measure


class Wanted(Protocol):
    """What is measured."""

    @property
    def splits(self) -> tuple[str, ...]: ...
    @property
    def neighbours(self) -> tuple[int, ...]: ...
    @property
    def probe(self) -> bool: ...
    @property
    def probe_penalty(self) -> float: ...
    @property
    def bootstrap(self) -> int: ...
    @property
    def seed(self) -> int: ...


def classified(config: Wanted, inputs: Inputs, context: Context) -> pa.Table:
    """Rows of metrics: the accuracy over the labelled pictures of each split, with its interval over them.

    A picture is of the split whose queries it is relevant to; one that is relevant to queries of several splits is in none.
    Raises ConfigError where there is nothing to learn from or to measure.
    """
    labels = inputs["corpus"].read(["label"])["label"].combine_chunks().dictionary_encode()
    classes = labels.indices.fill_null(-1).to_numpy().astype(np.int64)  # -1 has none
    shown = pc.is_valid(inputs["corpus"].read(["picture"])["picture"]).to_numpy(zero_copy_only=False)
    split_of = _splits(inputs, len(classes))
    usable = shown & (classes >= 0)
    known = np.flatnonzero(usable & (split_of == "train"))
    vectors = load_vectors(inputs["corpus_vectors"])
    rows = []
    for split in config.splits:
        asked = np.flatnonzero(usable & (split_of == split))
        if not len(known) or not len(asked):
            raise ConfigError(
                "neighbours and a probe need pictures with labels", where="evaluate.neighbours, evaluate.probe",
                got=f"{len(known)} in the split train, {len(asked)} in {split}", try_="a data set with labels, or leave them out",
            )  # fmt: skip
        context.log(f"evaluate: the classes of {len(asked)} pictures of {split} are told from {len(known)} of train")
        for measure, found in _found(config, vectors[known], classes[known], vectors[asked]):
            right = (found == classes[asked]).astype(np.float64)
            low, high = bootstrap_interval(right[:, None], config.bootstrap, config.seed)
            rows.append(mean_row(context.round, split, measure, float(right.mean()), (float(low[0]), float(high[0]))))
    return pa.Table.from_pylist(rows, schema=METRICS)


def _found(
    config: Wanted, known: np.ndarray, labels: np.ndarray, asked: np.ndarray
) -> Iterator[tuple[Measure, np.ndarray]]:
    for k in config.neighbours:
        yield Measure("kNN", k), neighbours(known, labels, asked, k)
    if config.probe:
        yield Measure("Probe", None), probe(known, labels, asked, config.probe_penalty)


def _splits(inputs: Inputs, documents: int) -> np.ndarray:
    """The split of each document, empty where it has none or several: str (n,)."""
    qrels = inputs["qrels"].read(["doc_row", "relevance", "split"])
    qrels = qrels.filter(pc.greater(qrels["relevance"], 0))
    split_of = np.full(documents, "", dtype="<U5")
    rows, splits = qrels["doc_row"].to_numpy(), qrels["split"].to_numpy().astype("<U5")
    split_of[rows] = splits
    split_of[rows[split_of[rows] != splits]] = ""
    return split_of
