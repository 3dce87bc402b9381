"""A sentence-transformers model in memory, and how texts are batched for it. Importing this file imports torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize
from transformers import PreTrainedTokenizerBase

from stages.errors import ConfigError, ResourceError
from stages.weights import loading

CPU_TOKENS, GPU_TOKENS, STATIC_TOKENS = 2_048, 65_536, 262_144
"""Tokens a batch. A small batch stays in a CPU's cache; a GPU wants a large one; a table of vectors has no layers to cache."""
TOWERS = "towers.json"  # of a folder whose module is one of ours
_Items = Sequence[tuple[str, str]]  # prompt and text


def open_folder(
    folder: Path, device: str, prompts: Mapping[str, str], max_tokens: int | None, normalise: bool
) -> SentenceTransformer:
    """A model from a folder: safetensors only, no remote code, no network, float32.

    Parameters that the folder lacks and the embedding does not use (a BERT pooler) start from a fixed seed, so that a
    model loaded twice is the same to the byte. Raises ArtefactError when any other is missing, ResourceError when the
    folder cannot be loaded.
    """
    cuda = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=cuda), loading(folder, unused=("pooler.",)) as how:
        torch.manual_seed(0)
        if (folder / TOWERS).is_file():
            from stages.encoders._towers import Towers

            model = SentenceTransformer(modules=[Towers.load(str(folder))], device=device, prompts=dict(prompts))
        else:
            model = SentenceTransformer(str(folder), device=device, prompts=dict(prompts), **how)
    if max_tokens is not None:
        limit = getattr(model.config, "max_position_embeddings", None)
        if limit is not None and max_tokens > limit:
            raise ConfigError(
                "max_tokens is more than the model has positions for", where=str(folder), got=f"{max_tokens} > {limit}"
            )
        try:
            model.max_seq_length = max_tokens
        except AttributeError:
            raise ConfigError(
                "max_tokens is given for a model without a limit", where=str(folder), try_="remove max_tokens"
            ) from None
    return finished(model.float(), normalise)


def finished(model: SentenceTransformer, normalise: bool) -> SentenceTransformer:
    """The model, with normalisation as its last module where that is asked for and not there yet."""
    if normalise and not isinstance(model[-1], Normalize):
        model.append(Normalize())
    return model


class Loaded:
    """A model that encodes texts.

    `counts` has grown by `truncated` (texts longer than `max_tokens`), `repeated` (texts whose vector was that of an
    identical text of the same call) and `halved` (batches that did not fit in the device's memory).
    """

    def __init__(
        self, model: SentenceTransformer, *, device: str, precision: str, prompts: Mapping[str, str], normalise: bool
    ) -> None:
        self.model, self.device, self.prompts, self.normalise = (
            model.eval(),
            torch.device(device),
            dict(prompts),
            normalise,
        )
        self.autocast = precision == "bf16"
        self.counts = {"truncated": 0, "repeated": 0, "halved": 0}
        self._counts_tokens = isinstance(model.tokenizer, PreTrainedTokenizerBase)
        self._tokens = (
            (CPU_TOKENS if self.device.type == "cpu" else GPU_TOKENS) if self._counts_tokens else STATIC_TOKENS
        )

    @property
    def dimensions(self) -> int:
        known = self.model.get_embedding_dimension()
        return int(known if known is not None else self._forward(["a"], "", "document").shape[1])

    @property
    def max_tokens(self) -> int | None:
        """Tokens after which a text is cut, special ones included; None when there is no limit."""
        limit = self.model.max_seq_length
        return None if limit is None or math.isinf(limit) or limit > 10**9 else int(limit)

    def encode(
        self,
        texts: Sequence[str],
        role: str,
        prompts: Sequence[str | None] | None = None,
        *,
        batch_tokens: int | None = None,
        log: Callable[[str], None] | None = None,
    ) -> np.ndarray:
        """Embeddings of `texts` in their order: float32 (n, d).

        `role` is query or document and says which prompt goes in front; `prompts` gives a text its own instead. Equal
        texts get equal bits. Batches hold up to `batch_tokens` tokens, padding included, of texts with one prompt, in
        the order of (length, position). Raises ResourceError when even one text does not fit in memory.
        """
        own = prompts if prompts is not None else [None] * len(texts)
        keyed = [
            (self.prompts[role] if prompt is None else prompt, text) for prompt, text in zip(own, texts, strict=True)
        ]
        items = list(dict.fromkeys(keyed))
        lengths = self._lengths(items)
        order = sorted(range(len(items)), key=lambda i: (items[i][0], lengths[i], i))
        items, lengths = [items[i] for i in order], lengths[order]
        place = {item: i for i, item in enumerate(items)}
        inverse = np.fromiter((place[item] for item in keyed), dtype=np.int64, count=len(keyed))
        if self.max_tokens is not None:
            self.counts["truncated"] += int((lengths > self.max_tokens)[inverse].sum())
            lengths = np.minimum(lengths, self.max_tokens)
        self.counts["repeated"] += len(keyed) - len(items)
        values = self._encode_sorted(items, lengths, role, batch_tokens or self._tokens, log=log)
        return np.asarray(values.cpu().numpy()[inverse])

    def truncated(self, texts: Sequence[str], role: str, prompts: Sequence[str | None] | None = None) -> np.ndarray:
        """Which texts are longer than `max_tokens`, prompts included, so that `encode` cuts them: bool (n,)."""
        own = prompts if prompts is not None else [None] * len(texts)
        limit = self.max_tokens
        items = [
            (self.prompts[role] if prompt is None else prompt, text) for prompt, text in zip(own, texts, strict=True)
        ]
        return np.zeros(len(items), dtype=bool) if limit is None else self._lengths(items) > limit

    def _encode_sorted(
        self, items: _Items, lengths: np.ndarray, role: str, budget: int, *, log: Callable[[str], None] | None
    ) -> torch.Tensor:
        """Embeddings (n, d) of prompts and texts that are in the order of (prompt, length), on the device."""
        values = torch.empty((len(items), self.dimensions), dtype=torch.float32, device=self.device)
        start = 0
        while start < len(items):
            stop = _end_of_batch(items, lengths, start, budget)
            embeddings = self._try([text for _, text in items[start:stop]], items[start][0], role)
            if embeddings is not None:
                values[start:stop] = embeddings
                start = stop
                continue
            count, longest = stop - start, int(lengths[stop - 1])
            if count == 1:
                raise ResourceError(
                    "one text alone does not fit in the device's memory",
                    where=f"{longest} tokens: {items[start][1][:80]!r}",
                    try_="a lower max_tokens, precision = bf16, or another device",
                )
            budget = count // 2 * longest
            self.counts["halved"] += 1
            if log:
                log(f"out of memory with {count} texts of up to {longest} tokens: batches now hold {budget} tokens")
        return values

    def _try(self, texts: list[Any], prompt: str, role: str) -> torch.Tensor | None:
        """The embeddings, or None when memory does not suffice; by then the failed batch has been let go."""
        try:
            return self._forward(texts, prompt, role)
        except torch.OutOfMemoryError:
            pass
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    @torch.inference_mode()
    def _forward(self, texts: list[Any], prompt: str, role: str) -> torch.Tensor:
        features = self.model.preprocess(texts, prompt=prompt or None, task=role)
        features = {k: v.to(self.device) if isinstance(v, torch.Tensor) else v for k, v in features.items()}
        with torch.autocast(self.device.type, dtype=torch.bfloat16) if self.autocast else nullcontext():
            embeddings = self.model(features, task=role)["sentence_embedding"].float()
        return torch.nn.functional.normalize(embeddings, dim=1) if self.normalise else embeddings

    def _lengths(self, items: _Items) -> np.ndarray:
        """Tokens of each prompt and text: int64 (n,). A static model has no limit, so a quarter of the characters will do."""
        joined = [prompt + text for prompt, text in items]
        tokenizer: Any = self.model.tokenizer
        if not joined or not self._counts_tokens:
            return np.array([1 + len(text) // 4 for text in joined], dtype=np.int64)
        ids = tokenizer(
            joined, truncation=False, return_attention_mask=False, return_token_type_ids=False, verbose=False
        )["input_ids"]
        return np.array([len(i) for i in ids], dtype=np.int64)


def _end_of_batch(items: _Items, lengths: np.ndarray, start: int, budget: int) -> int:
    """Where the batch that begins at `start` ends: one prompt, and `budget` tokens with padding, but at least one text."""
    stop = start + 1
    while stop < len(items) and items[stop][0] == items[start][0] and (stop + 1 - start) * lengths[stop] <= budget:
        stop += 1
    return stop
