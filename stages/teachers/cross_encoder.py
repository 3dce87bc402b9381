"""A cross-encoder that sentence-transformers loads: query and document go through the model together.

Every batch of one padded length has one shape: filled up with copies of its last pair, so that a pair's score hangs on
the pair alone and not on the others of its batch, which change with the depth and with what is remembered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from stages import weights
from stages.errors import ConfigError, ResourceError
from stages.spec import Cache
from stages.teachers._teacher import Labelled, scored
from stages.teaching import Log, Pairs, Scored, remembered

STEP = 32
"""Tokens by which padded lengths grow."""

CPU_TOKENS, GPU_TOKENS = 2_048, 65_536
"""Tokens a batch: a small batch stays in a CPU's cache, a GPU wants a large one."""

CHUNK = 8_192
"""Pairs scored before they are stored, which is what a kill can lose."""


class CrossEncoder(Labelled):
    """Scores a pair by one model that reads both texts."""

    model: str = Field(description="package:NAME/PATH inside an installed package, a local folder, or a hub id")
    revision: str | None = Field(
        None, description="commit, tag or branch of a hub id; none is what the cache has as main"
    )
    sha256: str | None = Field(None, description="of model.safetensors, checked before it is used; none checks nothing")
    max_tokens: int = Field(
        512,
        ge=8,
        description="tokens of a pair, special ones included; what the document has beyond is cut. Cost grows with it",
    )
    activation: Literal["sigmoid", "none"] = Field(
        "sigmoid", description="sigmoid gives scores from 0 to 1, which thresholds are made for; none gives logits"
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="arithmetic of the model; bf16 is faster on a GPU and rounds logits to about three digits",
    )

    def fingerprint(self) -> str:
        """sha256 over weights, configuration, tokenizer and all that the scores hang on. Needs no torch."""
        settings = {"max_tokens": self.max_tokens, "activation": self.activation, "precision": self.precision}
        return weights.fingerprint(weights.model_files(self._folder()), {"kind": "cross_encoder", **settings})

    def open(self, device: str, cache: Cache, log: Log) -> _Scorer:
        """The model on `device`. Raises ConfigError for a model that gives no single score."""
        folder = self._folder()
        weights.model_files(folder)
        model, tokenizer = _load(folder, device, self.max_tokens)
        name = f"teach/{self.fingerprint()}-{device.partition(':')[0]}"
        tokens = CPU_TOKENS if device == "cpu" else GPU_TOKENS
        return _Scorer(self, model, tokenizer, device, cache, name, tokens, log)

    def _folder(self) -> Path:
        folder = weights.locate(self.model, self.revision)
        weights.check(folder / "model.safetensors", self.sha256)
        return folder


def _load(folder: Path, device: str, max_tokens: int) -> tuple[Any, Any]:
    """Model and tokenizer: safetensors only, no remote code, no network, float32, and no parameter left to chance."""
    from sentence_transformers import CrossEncoder as Model

    with weights.loading(folder) as how:
        loaded = Model(str(folder), device=device, **how)
    if loaded.num_labels != 1:
        raise ConfigError(
            "a teacher gives a pair one score", where=str(folder), got=f"{loaded.num_labels} labels",
            try_="a model that was trained to rerank",
        )  # fmt: skip
    limit = getattr(loaded.model.config, "max_position_embeddings", None)
    if limit is not None and max_tokens > limit:
        raise ConfigError(
            "max_tokens is more than the model has positions for", where=str(folder), got=f"{max_tokens} > {limit}"
        )
    return loaded.model.eval(), loaded.tokenizer


@dataclass
class _Scorer:
    """A cross-encoder at work. `halved` counts batches that did not fit in the device's memory."""

    teacher: CrossEncoder
    model: Any
    tokenizer: Any
    device: str
    cache: Cache
    cached: str
    tokens: int
    log: Log
    counts: dict[str, int] = field(default_factory=lambda: {"halved": 0})

    def score(self, pairs: Pairs) -> Scored:
        everything = np.ones(len(pairs), dtype=bool)
        return remembered(self.cache, self.cached, pairs.texts(), everything, chunk=CHUNK, score=self.score_texts)

    def score_texts(self, pairs: list[tuple[str, str]]) -> Scored:
        """Scores of pairs of texts, in their order."""
        encoded, truncated = self._encode(pairs)
        lengths = np.array([len(each["input_ids"]) for each in encoded])
        padded = np.minimum(-(-lengths // STEP) * STEP, max(self.teacher.max_tokens, 1))
        order = np.lexsort((np.arange(len(padded)), padded))
        logits = np.empty(len(pairs), dtype=np.float32)
        start = 0
        while start < len(order):
            length = int(padded[order[start]])
            size = max(1, self.tokens // length)
            part = order[start : min(start + size, int(np.searchsorted(padded[order], length, side="right")))]
            values = self._forward([encoded[i] for i in part], length, size)
            if values is None:
                self._halve(size, length)
                continue
            logits[part] = values
            start += len(part)
        return scored(logits, truncated, self.teacher.activation)

    def _encode(self, pairs: list[tuple[str, str]]) -> tuple[list[dict[str, list[int]]], list[bool]]:
        """Token ids of each pair, and whether a document was cut."""
        queries, documents = [query for query, _ in pairs], [document for _, document in pairs]
        limit = self.teacher.max_tokens
        whole = self.tokenizer(queries, documents, truncation=False, verbose=False)
        lengths = [len(ids) for ids in whole["input_ids"]]
        cut = self.tokenizer(queries, documents, truncation="longest_first", max_length=limit, verbose=False)
        names = list(cut.keys())
        return [{name: cut[name][i] for name in names} for i in range(len(pairs))], [n > limit for n in lengths]

    def _forward(self, encoded: list[dict[str, list[int]]], length: int, size: int) -> np.ndarray | None:
        """Logits float32 (m,) of m pairs in a batch of the shape (size, length); None when memory does not suffice."""
        import torch

        filled = encoded + encoded[-1:] * (size - len(encoded))
        batch = self.tokenizer.pad(filled, padding="max_length", max_length=length, return_tensors="pt", verbose=False)
        kind = torch.device(self.device).type
        try:
            with (
                torch.inference_mode(),
                torch.autocast(kind, dtype=torch.bfloat16, enabled=self.teacher.precision == "bf16"),
            ):
                logits = self.model(**{name: value.to(self.device) for name, value in batch.items()}).logits
                values: np.ndarray = logits.float().reshape(size, -1)[: len(encoded), 0].cpu().numpy()
                return values
        except torch.OutOfMemoryError:
            pass
        if kind == "cuda":
            torch.cuda.empty_cache()
        return None

    def _halve(self, size: int, length: int) -> None:
        if size == 1:
            raise ResourceError(
                "one pair alone does not fit in the device's memory",
                where=f"{length} tokens",
                try_="a lower max_tokens, precision = bf16, or another device",
            )
        self.tokens = size // 2 * length
        self.counts["halved"] += 1
        self.log(f"out of memory with {size} pairs of {length} tokens: batches now hold {self.tokens} tokens")
