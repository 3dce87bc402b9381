"""Mining by another library, called as its users call it; what it finds is stored as a TREC run that the stage mine reads."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from pipeline.compare.reading import stored
from pipeline.fingerprint import digest
from pipeline.plan import Node
from pipeline.progress import LOG
from pipeline.runner import Runner
from pipeline.store import commit, commit_json
from stages.errors import YieldError
from stages.spec import Source
from stages.text import joined
from stages.trec import escaped, run_lines

DOCUMENTED = {
    "range_min": 10,
    "range_max": 50,
    "max_score": 0.8,
    "relative_margin": 0.05,
    "sampling_strategy": "random",
    "batch_size": 128,
    "use_faiss": True,
}
"""The settings of the example in the documentation of `sentence_transformers.util.mine_hard_negatives` (6.2)."""


def mined(runner: Runner, folder: Path, seed: int) -> Path:
    """The run of sentence-transformers for the training queries and the model of a configuration; made once.

    Needs the results of ingest. Beside the run stands the time that it took, in seconds. It has as many negatives of a
    query as training takes, so that every one that was drawn is trained on.
    """
    train, sample = (getattr(runner.configuration.stages[name], "negatives") for name in ("train", "sample"))  # noqa: B009
    negatives = sample if train is None else min(train, sample)
    encoder: Any = runner.configuration.stages["embed"].encoder  # type: ignore[attr-defined]
    ingest = runner.workspace.manifest("ingest")
    key = digest(
        {
            "version": version("sentence-transformers"), "settings": DOCUMENTED, "negatives": negatives, "seed": seed,
            "encoder": encoder.fingerprint(), "data": ingest.key if ingest else "",
        }
    )  # fmt: skip
    path = folder / f"sentence_transformers-{seed}-{key[:16]}.trec"
    if not path.is_file():
        tables = {name: stored(runner, Node("ingest"), name) for name in ("corpus", "queries", "qrels")}
        started = time.monotonic()
        lines = _mine(tables, encoder.module(runner.device), encoder, negatives, seed)
        seconds = time.monotonic() - started
        commit_json(path.with_suffix(".json"), {"seconds": round(seconds, 3)})
        commit(path, lambda temporary: _write(temporary, lines))
    return path


def _write(path: Path, lines: list[bytes]) -> None:
    path.write_bytes(b"".join(lines))


def _mine(inputs: Mapping[str, Source], model: Any, encoder: Any, negatives: int, seed: int) -> list[bytes]:
    """The lines of the run. A text stands for all rows that have it: of documents the first one is named, of queries all."""
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    corpus = inputs["corpus"].read(["doc_id", "title", "text"])
    texts = joined(corpus)
    queries = inputs["queries"].read(["query_id", "text"])
    asked = queries["text"].to_pylist()
    qrels = inputs["qrels"].read(["query_row", "doc_row", "relevance", "split"])
    qrels = qrels.filter(pc.and_(pc.greater(qrels["relevance"], 0), pc.equal(qrels["split"], "train")))
    pairs = list(zip(qrels["query_row"].to_pylist(), qrels["doc_row"].to_pylist(), strict=True))
    state = random.getstate()
    random.seed(seed)  # it draws from Python's own generator
    try:
        found = mine_hard_negatives(
            Dataset.from_dict({"anchor": [asked[q] for q, _ in pairs], "positive": [texts[d] for _, d in pairs]}),
            model,
            corpus=texts,
            num_negatives=negatives,
            query_prompt=encoder.query_prompt or None,
            corpus_prompt=encoder.document_prompt or None,
            output_scores=True,
            verbose=False,
            **DOCUMENTED,
        )
    finally:
        random.setstate(state)
    if not len(found):
        raise YieldError("mine_hard_negatives of sentence-transformers finds no negative", got=str(DOCUMENTED))
    row_of: dict[str, int] = {}
    for row, text in enumerate(texts):
        row_of.setdefault(text, row)
    hits: dict[str, dict[int, float]] = {}
    for anchor, negative, scores in zip(found["anchor"], found["negative"], found["scores"], strict=True):
        hits.setdefault(anchor, {})[row_of[negative]] = scores[1]
    rows = sorted({q for q, _ in pairs if asked[q] in hits})
    width = max(len(each) for each in hits.values())
    place, score = np.full((len(rows), width), -1, np.int32), np.full((len(rows), width), -np.inf)
    for i, query in enumerate(rows):
        each = hits[asked[query]]
        place[i, : len(each)], score[i, : len(each)] = list(each), list(each.values())
    LOG.info("  sentence-transformers finds %d negatives for %d queries", (place >= 0).sum(), len(rows))
    query_ids = escaped(queries["query_id"].combine_chunks())[0].take(np.array(rows))
    return list(run_lines(query_ids, escaped(corpus["doc_id"].combine_chunks())[0], place, score, "st"))
