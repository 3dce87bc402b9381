"""A sentence-transformers model in memory, and how texts are batched for it. Importing this file imports torch."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize
from transformers import PreTrainedTokenizerBase
from transformers.tokenization_utils_base import TruncationStrategy
from transformers.utils import PaddingStrategy

from stages.encoders import _packed
from stages.encoders._cores import bf16_gain, threads_for
from stages.encoders._feed import Feed
from stages.errors import ConfigError, ResourceError
from stages.float32 import whole_float32
from stages.threads import one_thread_each, spread
from stages.weights import loading

CPU_TOKENS, GPU_TOKENS, STATIC_TOKENS = 2_048, 65_536, 262_144
"""Tokens a batch. A small batch stays in a CPU's cache; a GPU wants a large one; a table of vectors has no layers to cache."""
TOWERS = "towers.json"  # of a folder whose module is one of ours
_Items = Sequence[tuple[str, str]]  # prompt and text


def open_folder(
    folder: Path,
    device: str,
    prompts: Mapping[str, str],
    max_tokens: int | None,
    normalise: bool,
    *,
    exported: Mapping[str, Any] | None = None,
) -> SentenceTransformer:
    """A model from a folder: safetensors only, no remote code, no network, float32.

    `exported` are the library's arguments for a model in another format, see `stages.encoders._backends`.

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
            model = SentenceTransformer(
                str(folder), device=device, prompts=dict(prompts), **{**how, **(exported or {})}
            )
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
    return finished(model if exported else model.float(), normalise)


def finished(model: SentenceTransformer, normalise: bool) -> SentenceTransformer:
    """The model, with normalisation as its last module where that is asked for and not there yet."""
    if normalise and not isinstance(model[-1], Normalize):
        model.append(Normalize())
    return model


@dataclass(frozen=True)
class Prepared:
    """The distinct texts of a call in the order of (prompt, length, first place), tokenized."""

    items: list[tuple[str, str]]  # prompt and text
    lengths: np.ndarray  # int64 (m,), tokens that are encoded
    tokens: list[np.ndarray] | None  # int64, of each text; None where the library tokenizes again
    inverse: np.ndarray  # int64 (n,): which of the distinct texts each one is
    role: str
    truncated: np.ndarray  # bool (n,): longer than the model reads


class Loaded:
    """A model that encodes texts.

    `counts` has grown by `truncated` (texts longer than `max_tokens`), `repeated` (texts whose vector was that of an
    identical text of the same call) and `halved` (batches that did not fit in the device's memory). `notes` tells how it
    works. With `alone` a text's vector is the same to the bit whatever else is encoded with it.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        *,
        device: str,
        precision: str,
        prompts: Mapping[str, str],
        normalise: bool,
        dimensions: int | None = None,
    ) -> None:
        self.model, self.device = model.eval(), torch.device(device)
        self.prompts, self.normalise, self._kept = dict(prompts), normalise, dimensions
        self.autocast = precision == "bf16"
        self.counts = {"truncated": 0, "repeated": 0, "halved": 0}
        self.notes: list[str] = []
        self._tokenizing = threading.Lock()  # a tokenizer holds how it cuts and pads as its state
        self._counts_tokens = isinstance(model.tokenizer, PreTrainedTokenizerBase)
        self.own, self.alone = None, not self._counts_tokens
        if self._counts_tokens and model.backend == "torch":
            self.own, self.alone, note = _packed.build(model, precision, self.device, self._expected)
            self.notes += [note] if note else []
        self._threads = 0
        full = self._full_dimensions()
        if dimensions is not None and dimensions > full:
            raise ConfigError(
                "the model's vectors have fewer values than dimensions asks for", got=f"{dimensions} > {full}"
            )
        self._advise(precision)

    def _advise(self, precision: str) -> None:
        """Says of a processor when the other arithmetic would be the faster one; measured, not looked up."""
        if self.device.type != "cpu" or not self._counts_tokens:
            return
        gain = bf16_gain()
        if precision == "bf16" and gain < 1:
            self.notes.append(f"bf16 products take {1 / gain:.1f} times as long as fp32 ones here: fp32 is faster")
        elif precision == "fp32" and gain > 1.5:
            self.notes.append(
                f'bf16 products are {gain:.1f} times as fast as fp32 ones here: precision = "bf16" uses them'
            )

    @property
    def arithmetic(self) -> str:
        """What else than the text and the weights a vector's last bits hang on."""
        kind = "library" if self.own is None else "own" if self.own.tiled is None else "tiles"
        return f"{kind} {'bf16' if self.autocast else 'fp32'} {self.device.type}"

    @property
    def dimensions(self) -> int:
        return self._kept or self._full_dimensions()

    def _full_dimensions(self) -> int:
        known = self.model.get_embedding_dimension()
        return int(known if known is not None else self._library(["a"], "", "document").shape[1])

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
        texts get equal bits. Raises ResourceError when even one text does not fit in memory.
        """
        return self.embed(self.prepare(texts, role, prompts), batch_tokens=batch_tokens, log=log)

    def prepare(self, texts: Sequence[str], role: str, prompts: Sequence[str | None] | None = None) -> Prepared:
        """Tokenizes each distinct prompt and text once. May run in another thread, beside `embed`."""
        keyed = self._keyed(texts, role, prompts)
        items = list(dict.fromkeys(keyed))
        tokens, lengths, long = self._sized(items)
        order = sorted(range(len(items)), key=lambda i: (items[i][0], lengths[i], i))
        items, lengths, long = [items[i] for i in order], lengths[order], long[order]
        place = {item: i for i, item in enumerate(items)}
        inverse = np.fromiter((place[item] for item in keyed), dtype=np.int64, count=len(keyed))
        ids = None if tokens is None or self.own is None else [tokens[i] for i in order]
        return Prepared(items, lengths, ids, inverse, role, long[inverse])

    def embed(
        self, prepared: Prepared, *, batch_tokens: int | None = None, log: Callable[[str], None] | None = None
    ) -> np.ndarray:
        """Embeddings of what `prepare` gave: float32 (n, d).

        On a processor the own forward pass fills frames of `batch_tokens` tokens. Else a batch holds up to that many with
        padding, of texts with one prompt, in the order of (length, place).
        """
        self.counts["truncated"] += int(prepared.truncated.sum())
        self.counts["repeated"] += len(prepared.inverse) - len(prepared.items)
        if self.own is not None and self.device.type == "cpu":
            values = self._in_frames(self.own, prepared, batch_tokens or _packed.FRAME)
        elif self.own is not None:
            feed = Feed(self.own, prepared, self.device)
            values = self._in_batches(prepared, feed, batch_tokens or GPU_TOKENS, log)
        else:
            values = self._in_batches(prepared, _Again(self, prepared), batch_tokens or self._budget, log)
        found = values.cpu().numpy()
        if self._kept is not None and self._kept < found.shape[1]:
            found = shortened(found, self._kept, self.normalise)
        return np.asarray(found[prepared.inverse])

    def exact(self, texts: Sequence[str], role: str, prompts: Sequence[str | None] | None = None) -> np.ndarray:
        """What the library's forward pass gives in float32 for a few texts: float32 (n, d)."""
        keyed, before = self._keyed(texts, role, prompts), self.autocast
        self.autocast = False
        try:
            found = torch.cat([self._library([text], prompt, role) for prompt, text in keyed]).cpu().numpy()
        finally:
            self.autocast = before
        return found if self._kept is None else shortened(found, self._kept, self.normalise)

    def truncated(self, texts: Sequence[str], role: str, prompts: Sequence[str | None] | None = None) -> np.ndarray:
        """Which texts are longer than `max_tokens`, prompts included, so that `encode` cuts them: bool (n,)."""
        limit, items = self.max_tokens, self._keyed(texts, role, prompts)
        return np.zeros(len(items), dtype=bool) if limit is None else self._sized(items)[2]

    def _keyed(self, texts: Sequence[str], role: str, prompts: Sequence[str | None] | None) -> list[tuple[str, str]]:
        own = prompts if prompts is not None else [None] * len(texts)
        return [
            (self.prompts[role] if prompt is None else prompt, text) for prompt, text in zip(own, texts, strict=True)
        ]

    def _in_frames(self, own: _packed.Packed, prepared: Prepared, size: int) -> torch.Tensor:
        """Embeddings (m, d) of the distinct texts; the cores share the frames."""
        values, tokens = torch.empty((len(prepared.items), own.width)), prepared.tokens or []
        order = np.argsort(prepared.lengths, kind="stable")
        todo = list(_packed.frames(prepared.lengths[order], size))
        threads = self._choose_threads(own) if len(todo) > 1 else 1

        def work(frame: _packed.Frame) -> tuple[np.ndarray, torch.Tensor]:
            places = order[frame.texts]
            return places, own.frame([tokens[i] for i in places], frame.rows)

        with one_thread_each():
            for places, found in spread(work, todo, threads):
                values[torch.from_numpy(places)] = found
        return values

    def _choose_threads(self, own: _packed.Packed) -> int:
        if not self._threads:
            sample = [np.zeros(64, dtype=np.int64)] * (_packed.FRAME // 64)
            self._threads = threads_for(lambda: own.frame(sample, _packed.FRAME), torch.get_num_threads())
        return self._threads

    def _in_batches(
        self, prepared: Prepared, feed: Batches, budget: int, log: Callable[[str], None] | None
    ) -> torch.Tensor:
        """Embeddings (m, d) of the distinct texts, on the device. Nothing in the loop waits for it."""
        items, lengths = prepared.items, prepared.lengths
        values = torch.empty((len(items), self._full_dimensions()), dtype=torch.float32, device=self.device)
        start = 0
        while start < len(items):
            stop = _end_of_batch(items, lengths, start, budget, feed.by_prompt)
            following = _end_of_batch(items, lengths, stop, budget, feed.by_prompt) if stop < len(items) else stop
            if self._try(feed, values, slice(start, stop), slice(stop, following)):
                start = stop
                continue
            count, longest = stop - start, int(lengths[start:stop].max())
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

    def _try(self, feed: Batches, values: torch.Tensor, batch: slice, following: slice) -> bool:
        """Fills in a batch; False when memory does not suffice, and by then the failed batch has been let go."""
        try:
            values[batch] = feed.vectors(batch, following)
            return True
        except torch.OutOfMemoryError:
            feed.drop()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return False

    @torch.inference_mode()
    def _library(self, texts: list[Any], prompt: str, role: str) -> torch.Tensor:
        """Vectors float32 (b, d) as the library computes them."""
        with self._tokenizing:
            features = self.model.preprocess(texts, prompt=prompt or None, task=role)
        features = {k: v.to(self.device) if isinstance(v, torch.Tensor) else v for k, v in features.items()}
        with torch.autocast(self.device.type, dtype=torch.bfloat16) if self.autocast else whole_float32():
            embeddings = self.model(features, task=role)["sentence_embedding"].float()
        return torch.nn.functional.normalize(embeddings, dim=1) if self.normalise else embeddings

    @torch.inference_mode()
    def _expected(self, ids: torch.Tensor) -> torch.Tensor:
        """The library's float32 vectors (b, d) of tokens (b, s) without padding."""
        features = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        found: torch.Tensor = self.model(features)["sentence_embedding"].float()
        return found

    @property
    def _budget(self) -> int:
        if not self._counts_tokens:
            return STATIC_TOKENS
        return CPU_TOKENS if self.device.type == "cpu" else GPU_TOKENS

    def _sized(self, items: _Items) -> tuple[list[np.ndarray] | None, np.ndarray, np.ndarray]:
        """The tokens of each prompt and text that are encoded, their number int64 (n,), and bool (n,) where there are more.

        None for a model without tokens that count: a quarter of the characters will do as their number.
        """
        limit = self.max_tokens
        if not self._counts_tokens:
            lengths = np.array([1 + len(prompt + text) // 4 for prompt, text in items], dtype=np.int64)
            return None, lengths if limit is None else np.minimum(lengths, limit), lengths > (limit or np.inf)
        tokens, long = self._tokenized(items, limit=limit) if items else ([], [])
        return tokens, np.fromiter(map(len, tokens), np.int64, len(tokens)), np.array(long, dtype=bool)

    def _tokenized(self, items: _Items, *, limit: int | None) -> tuple[list[np.ndarray], list[bool]]:
        """Tokens of each prompt and text, int64, cut to `limit`, and whether they were cut. Offsets, which take time, are left out."""
        tokenizer: Any = self.model.tokenizer
        joined = [prompt + text for prompt, text in items]
        with self._tokenizing:
            if not tokenizer.is_fast:
                how = {"truncation": limit is not None, "max_length": limit}
                cut, whole = (tokenizer(joined, verbose=False, **each)["input_ids"] for each in (how, {}))
                long = [len(some) < len(all_) for some, all_ in zip(cut, whole, strict=True)]
                return [np.array(one, dtype=np.int64) for one in cut], long
            strategy = TruncationStrategy.DO_NOT_TRUNCATE if limit is None else TruncationStrategy.LONGEST_FIRST
            tokenizer.set_truncation_and_padding(PaddingStrategy.DO_NOT_PAD, strategy, limit, 0, None, None)
            encode = tokenizer.backend_tokenizer.encode_batch_fast
            # Beside a processor's cores that embed, a tokenizer's own threads cost more than they gain.
            found = [encode([text])[0] for text in joined] if self.device.type == "cpu" else encode(joined)
        return [np.array(one.ids, dtype=np.int64) for one in found], [bool(one.overflowing) for one in found]


class Batches(Protocol):
    """What gives the vectors of a batch; `following` is the one that comes next."""

    by_prompt: bool

    def vectors(self, batch: slice, following: slice) -> torch.Tensor: ...

    def drop(self) -> None:
        """Lets go of what was made ready."""
        ...


@dataclass
class _Again:
    """Batches that the library tokenizes and pads."""

    loaded: Loaded
    prepared: Prepared
    by_prompt = True

    def vectors(self, batch: slice, following: slice) -> torch.Tensor:
        items = self.prepared.items[batch]
        return self.loaded._library([text for _, text in items], items[0][0], self.prepared.role)

    def drop(self) -> None: ...


def shortened(values: np.ndarray, dimensions: int, normalise: bool) -> np.ndarray:
    """The first `dimensions` values of vectors (n, d), float32, scaled to length 1 again where they were.

    Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022: a model trained for it keeps most of what it knows
    in the first values.
    """
    first = values[:, :dimensions]
    if normalise:
        length = np.linalg.norm(first.astype(np.float64), axis=1, keepdims=True)
        first = first / np.where(length > 0, length, 1)
    return np.ascontiguousarray(first, dtype=np.float32)


def _end_of_batch(items: _Items, lengths: np.ndarray, start: int, budget: int, by_prompt: bool) -> int:
    """Where the batch that begins at `start` ends: `budget` tokens with padding, but at least one text; one prompt, if asked."""
    stop, longest = start + 1, lengths[start]
    while stop < len(items) and (not by_prompt or items[stop][0] == items[start][0]):
        longest = max(longest, lengths[stop])
        if (stop + 1 - start) * longest > budget:
            break
        stop += 1
    return stop
