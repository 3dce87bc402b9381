"""What the model is worth on the queries of the split dev, while it is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from sentence_transformers import SentenceTransformer

from stages.errors import ConfigError
from stages.pictures import Album
from stages.spec import Inputs
from stages.training.collator import Collator, Texts, pictures_of, texts_of
from stages.trec import Measure, falling, measure

NDCG = Measure("nDCG", 10)


@dataclass(frozen=True)
class Development:
    """Queries, the documents that they are searched among, and what is relevant, by place in `documents`."""

    collator: Collator
    """How texts become tokens: as in training, but cut at the model's own limit."""
    queries: Texts
    query_rows: np.ndarray
    documents: Texts
    document_rows: np.ndarray
    relevant: Sequence[Mapping[int, int]]
    """The relevance of documents by their place in `document_rows`, for each query."""

    def measure(self) -> float:
        """The mean nDCG@10 over the queries, of inner products in float64; equal scores by row."""
        with _resting(self.collator.module) as module, torch.no_grad():
            documents = self._embed(module, "document", self.documents, self.document_rows)
            queries = self._embed(module, "query", self.queries, self.query_rows)
        among, asked = self.documents.shown(self.document_rows), self.queries.shown(self.query_rows)
        mixed = among.any() and not among.all()  # then a text is searched among pictures, and a picture among texts
        depth = min(NDCG.cutoff or 0, len(documents))
        rows, scores = np.empty((len(queries), depth), np.int32), np.empty((len(queries), depth))
        for start in range(0, len(queries), 256):
            found = queries[start : start + 256] @ documents.T
            if mixed:
                found[asked[start : start + 256, None] == among] = -np.inf
            order = np.argsort(-found, axis=1, kind="stable")[:, :depth]
            rows[start : start + 256], scores[start : start + 256] = order, np.take_along_axis(found, order, axis=1)
        return float(measure(rows, falling(scores), self.relevant, [NDCG]).mean())

    def _embed(self, module: SentenceTransformer, role: str, texts: Texts, rows: np.ndarray) -> np.ndarray:
        """Embeddings of rows in their order: float64 (n, d)."""
        tokens: dict[str, Any] = self.collator.tokens(role, *texts.of(rows))
        found = []
        for features in tokens["passes"]:
            moved = {k: v.to(module.device) if isinstance(v, torch.Tensor) else v for k, v in features.items()}
            found.append(module(moved, task=role)["sentence_embedding"].double().cpu())
        values: np.ndarray = torch.cat(found)[tokens["places"]].numpy()
        return values


def development(
    inputs: Inputs,
    collator: Collator,
    prompts: tuple[str, str],
    limit: int | None,
    *,
    seed: int,
    album: Path,
    log: Callable[[str], None],
) -> Development:
    """The queries of the split dev, and the documents that they are searched among: all, or those relevant and a sample.

    `prompts` are those of queries and of documents; pictures are kept in the file `album`; `limit` is how many documents there are to be, None takes all.
    Raises ConfigError when no query of the split dev has a relevant document.
    """
    qrels = inputs["qrels"].read(["query_row", "doc_row", "relevance", "split"])
    qrels = qrels.filter(pc.and_(pc.greater(qrels["relevance"], 0), pc.equal(qrels["split"], "dev")))
    if not len(qrels):
        raise ConfigError(
            "early stopping needs queries of the split dev with a relevant document, and there are none",
            where="train.early_stopping", try_="a data set with a split dev, or remove train.early_stopping",
        )  # fmt: skip
    queries, place = np.unique(qrels["query_row"].to_numpy(), return_inverse=True)
    documents = np.unique(qrels["doc_row"].to_numpy())
    others = np.setdiff1d(np.arange(inputs["corpus"].rows, dtype=documents.dtype), documents)
    if limit is not None and (wanted := max(limit - len(documents), 0)) < len(others):
        others = np.random.default_rng([seed, 0, 2]).choice(others, wanted, replace=False)
        log(f"on dev {len(queries)} queries are searched among {len(documents)} relevant documents and {wanted} others")
    documents = np.union1d(documents, others)
    sides = ((inputs["queries"], queries, prompts[0]), (inputs["corpus"], documents, prompts[1]))
    shown = np.unique(np.concatenate([pictures_of(source, rows) for source, rows, _ in sides]))
    pictures = Album.store(inputs["pictures"], shown, album) if len(shown) else None
    asked, held = (texts_of(source, rows, prompt, pictures) for source, rows, prompt in sides)
    relevant: list[dict[int, int]] = [{} for _ in queries]
    places = np.searchsorted(documents, qrels["doc_row"].to_numpy())
    for query, document, gain in zip(place, places, qrels["relevance"].to_pylist(), strict=True):
        relevant[query][int(document)] = gain
    return Development(replace(collator, max_tokens=None), asked, queries, held, documents, relevant)


@contextmanager
def _resting(module: SentenceTransformer) -> Iterator[SentenceTransformer]:
    """The module without dropout, and as it was afterwards."""
    training = module.training
    module.eval()
    try:
        yield module
    finally:
        module.train(training)
