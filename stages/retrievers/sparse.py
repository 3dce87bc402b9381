"""Learned sparse retrieval: a SparseEncoder of sentence-transformers, as SPLADE (Formal et al., SIGIR 2021).

Texts become vectors over a vocabulary of which few values are not 0; the score is their inner product, in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from stages import weights
from stages.registry import Member
from stages.retrieval import Collection, best
from stages.settings import speed

_BLOCK = 2_048  # texts encoded in one call, always the same ones
_SCORES = 1 << 24  # scores of a block of queries, 128 MB


class Sparse(Member):
    """Encodes corpus and queries when it is opened, by far the most of its cost, and joins them as sparse matrices."""

    model: str = Field(description="package:NAME/PATH inside an installed package, a local folder, or a hub id")
    revision: str | None = Field(
        None, description="commit, tag or branch of a hub id; none is what the cache has as main"
    )
    sha256: str | None = Field(None, description="of model.safetensors, checked before it is used; none checks nothing")
    label: str | None = Field(
        None, pattern=r"^[\w.-]+$", description="name among the results, where two have the same kind; none is `sparse`"
    )
    active: int | None = Field(
        None,
        ge=1,
        description="values kept of a vector, the highest; none keeps all. Fewer search faster and find less",
    )
    batch_size: int = speed(32, "texts a batch of the model; memory grows with it", ge=1)

    def fingerprint(self) -> str:
        """sha256 over weights, configurations and tokenizer. Needs no torch."""
        return weights.fingerprint(weights.model_files(self._folder()), {})

    def open(self, collection: Collection) -> SparseIndex:
        """Encodes documents and queries, or finds them encoded. Raises ResourceError when the model cannot be loaded."""
        label = self.label or self.name
        both = collection.kept(label, lambda: self._encode(collection))
        return SparseIndex(_matrix(both, "documents"), _matrix(both, "queries"), {"truncated": int(both["truncated"])})

    def _folder(self) -> Path:
        folder = weights.locate(self.model, self.revision)
        weights.check(folder / "model.safetensors", self.sha256)
        return folder

    def _encode(self, collection: Collection) -> dict[str, np.ndarray]:
        from scipy.sparse import vstack

        model = self._load(collection.device)
        found: dict[str, np.ndarray] = {}
        truncated = 0
        for role, texts in (("documents", collection.texts), ("queries", collection.query_texts)):
            encode = model.encode_document if role == "documents" else model.encode_query
            blocks = []
            with collection.progress(f"{self.label or self.name}: {role}", len(texts)) as bar:
                for start in range(0, len(texts), _BLOCK):
                    block = texts[start : start + _BLOCK]
                    truncated += _truncated(model, block, role)
                    blocks.append(self._rows(encode, block))
                    bar.advance(len(block))
            matrix = vstack(blocks, format="csr")
            found |= {f"{role}.{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}
            found[f"{role}.shape"] = np.array(matrix.shape)
        return {**found, "truncated": np.array(truncated)}

    def _load(self, device: str) -> Any:
        from sentence_transformers import SparseEncoder

        folder = self._folder()
        weights.model_files(folder)
        with weights.loading(folder, "sparse model") as how:
            model = SparseEncoder(str(folder), device=device, **how)
        return model.eval()

    def _rows(self, encode: Any, texts: Sequence[str]) -> Any:
        """Vectors of texts as a CSR matrix float32 (n, vocabulary), what is not above 0 left out."""
        from scipy.sparse import csr_matrix

        vectors = encode(
            list(texts),
            batch_size=self.batch_size,
            show_progress_bar=False,
            convert_to_tensor=True,
            convert_to_sparse_tensor=True,
            save_to_cpu=True,
            max_active_dims=self.active,
        ).coalesce()
        rows, columns = vectors.indices().cpu().numpy()
        values = vectors.values().float().cpu().numpy()
        return csr_matrix((values, (rows, columns)), shape=tuple(vectors.shape))


class SparseIndex:
    """An encoded corpus with the queries that will be asked."""

    def __init__(self, documents: Any, queries: Any, counts: dict[str, int]) -> None:
        self._documents, self._queries, self.counts = documents.T.tocsr(), queries, counts

    def search(self, which: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `stages.retrieval.Opened.search`; a document without a value of the query, or at 0 or below, is no hit."""
        rows, scores = np.full((len(which), k), -1, dtype=np.int32), np.full((len(which), k), -np.inf)
        step = max(1, _SCORES // max(1, self._documents.shape[1]))
        for start in range(0, len(which), step):
            every = (self._queries[which[start : start + step]] @ self._documents).toarray()
            for i, values in enumerate(every, start):
                hits = best(values, np.flatnonzero(values > 0), k)
                rows[i, : len(hits)], scores[i, : len(hits)] = hits, values[hits]
        return rows, scores


def _matrix(arrays: dict[str, np.ndarray], role: str) -> Any:
    from scipy.sparse import csr_matrix

    data, indices, indptr = (arrays[f"{role}.{part}"] for part in ("data", "indices", "indptr"))
    return csr_matrix((data.astype(np.float64), indices, indptr), shape=tuple(arrays[f"{role}.shape"]))


def _truncated(model: Any, texts: Sequence[str], role: str) -> int:
    """How many texts are longer than the model takes, the prompt that it was saved with included."""
    limit = getattr(model, "max_seq_length", None)
    if limit is None or limit > 10**9:
        return 0
    names = ("query",) if role == "queries" else ("document", "passage", "corpus")
    prompt = next((model.prompts[name] for name in names if name in model.prompts), "") or ""
    ids = model.tokenizer([prompt + text for text in texts], truncation=False, verbose=False)["input_ids"]
    return sum(len(each) > limit for each in ids)
