"""An own forward pass for encoders of BERT's shape, without padding.

On a processor the tokens of several texts lie one after the other in a frame of a fixed number of rows. Linear layers,
normalisation and the feed-forward part work on the whole frame, attention on the texts of one length at a time. In a frame
of fixed size a row's bits do not hang on the other rows, so a text's vector hangs on the text alone; `alone` says whether
that was seen to hold here. On a processor with AMX, bf16 is computed by `stages.encoders._tiled` instead. On a GPU a batch is
one padded block with a mask.

The mean and the length of a vector are computed in float32, whatever the layers compute in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

from stages.encoders import _tiled

FRAME = 1_024
"""Tokens of a frame: its activations stay in the cache of a core, and prepacked products are near their limit."""

SAME_FP32, SAME_BF16 = 1 - 1e-6, 0.999
"""Least cosine to the library's float32 vectors that lets the own forward pass be used."""

_POSITIONS = {"BertModel": False, "CamembertModel": True, "RobertaModel": True, "XLMRobertaModel": True}
"""Models that are known, and whether their positions begin behind the padding's number."""

_PROBE = (3, 9, 9, 17, 40, 64)  # lengths of the texts that both passes are tried on, in tokens


class Span(NamedTuple):
    """Texts of one width that lie one after the other: rows `start` to `start + count * width` of a frame."""

    start: int
    count: int  # type: ignore[assignment]
    width: int


class _Linear(NamedTuple):
    weight: torch.Tensor
    bias: torch.Tensor


class _Layer(NamedTuple):
    qkv: _Linear
    output: _Linear
    first_norm: _Linear
    up: _Linear
    down: _Linear
    second_norm: _Linear


@dataclass(frozen=True)
class Frame:
    """Which texts a frame holds, ascending in length: int64 (m,) places in the list; and its rows, filler included."""

    texts: np.ndarray
    rows: int


def frames(lengths: np.ndarray, size: int) -> Iterator[Frame]:
    """Frames over texts of ascending lengths int64 (n,): the longest first, with the shortest in what they leave free.

    A text that is longer than `size` has a frame of its own, of the next multiple of `size`.
    """
    low, high = 0, len(lengths)
    while low < high:
        if lengths[high - 1] > size:
            high -= 1
            yield Frame(np.array([high]), int(-(-lengths[high] // size) * size))
            continue
        free, first, last = size, low, high
        while high > low and lengths[high - 1] <= free:
            high -= 1
            free -= int(lengths[high])
        while low < high and lengths[low] <= free:
            free -= int(lengths[low])
            low += 1
        yield Frame(np.concatenate([np.arange(first, low), np.arange(high, last)]), size)


class Packed:
    """The layers of a model in one arithmetic."""

    def __init__(self, model: SentenceTransformer, dtype: torch.dtype, device: torch.device, prepack: bool) -> None:
        body: Any = model[0].model
        config = body.config
        self.dtype, self.device = dtype, device
        self.width, self.heads, self.epsilon = config.hidden_size, config.num_attention_heads, config.layer_norm_eps
        self.first_position = config.pad_token_id + 1 if _POSITIONS[type(body).__name__] else 0
        self.cls = model[1].pooling_mode == "cls"
        self.normalise = isinstance(model[-1], Normalize)
        self.prepacked = prepack and device.type == "cpu" and _prepacks(dtype)
        in_tiles = self.prepacked and dtype == torch.bfloat16
        self._in_tiles = in_tiles and _tiled.possible(self.width, self.heads, config.intermediate_size)
        table = body.embeddings
        self.words = self._to(table.word_embeddings.weight)
        self.positions = self._to(table.position_embeddings.weight.float() + table.token_type_embeddings.weight[0])
        self.norm = self._norm(table.LayerNorm)
        self.layers = [self._layer(layer) for layer in body.encoder.layer]
        self.tiled = _tiled.Tiled(self) if self._in_tiles else None

    def _to(self, values: torch.Tensor) -> torch.Tensor:
        return values.detach().to(self.device, self.dtype).contiguous()

    def _norm(self, module: Any) -> _Linear:
        if self._in_tiles:
            return _Linear(module.weight.detach().float(), module.bias.detach().float())
        return _Linear(self._to(module.weight), self._to(module.bias))

    def _linear(self, *modules: Any) -> _Linear:
        """One product in place of several over the same input."""
        weight = self._to(torch.cat([module.weight for module in modules]))
        bias = torch.cat([module.bias.detach() for module in modules])
        if self._in_tiles:
            return _Linear(_tiled.weights(weight), bias.float())
        bias = self._to(bias)
        return _Linear(torch.ops.mkldnn._reorder_linear_weight(weight, FRAME) if self.prepacked else weight, bias)

    def _layer(self, layer: Any) -> _Layer:
        attention = layer.attention
        return _Layer(
            self._linear(attention.self.query, attention.self.key, attention.self.value),
            self._linear(attention.output.dense),
            self._norm(attention.output.LayerNorm),
            self._linear(layer.intermediate.dense),
            self._linear(layer.output.dense),
            self._norm(layer.output.LayerNorm),
        )

    @torch.inference_mode()
    def frame(self, ids: Sequence[np.ndarray], rows: int) -> torch.Tensor:
        """Vectors float32 (m, d) of texts in ascending length, their tokens int64, in a frame of `rows` rows."""
        if self.tiled is not None:
            return self._finish(self.tiled.vectors(ids))
        widths = np.array([len(one) for one in ids])
        filler = np.zeros(rows - int(widths.sum()), dtype=np.int64)
        flat = torch.from_numpy(np.concatenate([*ids, filler]))
        positions = np.concatenate([*(np.arange(width) for width in widths), filler]) + self.first_position
        spans, start = [], 0
        for width, count in zip(*(found.tolist() for found in np.unique(widths, return_counts=True)), strict=True):
            spans.append(Span(start, count, width))
            start += count * width
        hidden = self._layers(flat, torch.from_numpy(positions), spans, None)
        return self._finish(torch.cat([self._pooled(hidden, span, None) for span in spans]))

    @torch.inference_mode()
    def block(self, ids: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        """Vectors float32 (b, d) of a padded block of tokens int64 (b, s); without `lengths` (b,) nothing is padding."""
        count, width = ids.shape
        span = Span(0, count, width)
        steps = torch.arange(width, device=ids.device)
        mask = None if lengths is None else steps < lengths[:, None]  # (b, s)
        positions = (steps + self.first_position).expand(count, width).reshape(-1)
        hidden = self._layers(ids.reshape(-1), positions, [span], mask)
        return self._finish(self._pooled(hidden, span, mask))

    def _layers(
        self, ids: torch.Tensor, positions: torch.Tensor, spans: Sequence[Span], mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Hidden states (t, d) of tokens and positions int64 (t,)."""
        found = F.embedding(ids, self.words) + F.embedding(positions, self.positions)
        hidden = self._normed(found, self.norm)
        for layer in self.layers:
            attended = self._attention(self._product(hidden, layer.qkv), spans, mask)
            hidden = self._normed(self._product_and(attended, layer.output, hidden), layer.first_norm)
            raised = self._raised(hidden, layer.up)
            hidden = self._normed(self._product_and(raised, layer.down, hidden), layer.second_norm)
        return hidden

    def _normed(self, values: torch.Tensor, norm: _Linear) -> torch.Tensor:
        return F.layer_norm(values, (self.width,), norm.weight, norm.bias, self.epsilon)

    def _product(self, values: torch.Tensor, by: _Linear) -> torch.Tensor:
        if self.tiled is not None:
            return self.tiled.product(values, by)
        if self.prepacked:
            plain: torch.Tensor = torch.ops.mkldnn._linear_pointwise(values, *by, "none", [], "")
            return plain
        return F.linear(values, *by)

    def _product_and(self, values: torch.Tensor, by: _Linear, added: torch.Tensor) -> torch.Tensor:
        if self.prepacked:
            both: torch.Tensor = torch.ops.mkldnn._linear_pointwise.binary(values, added, *by, "add")
            return both
        return F.linear(values, *by) + added

    def _raised(self, values: torch.Tensor, by: _Linear) -> torch.Tensor:
        """The first product of the feed-forward part with GELU in its exact form."""
        if self.prepacked:
            raised: torch.Tensor = torch.ops.mkldnn._linear_pointwise(values, *by, "gelu", [], "none")
            return raised
        return F.gelu(F.linear(values, *by))

    def _attention(self, qkv: torch.Tensor, spans: Sequence[Span], mask: torch.Tensor | None) -> torch.Tensor:
        """Softmax attention of each text over itself, (t, d) from queries, keys and values (t, 3d)."""
        wide = None if mask is None else mask[:, None, None, :]
        result = qkv.new_empty((len(qkv), self.width))
        end = 0
        for start, count, width in spans:
            end = start + count * width
            parts = qkv[start:end].view(count, width, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            queries, keys, values = parts.unbind()
            found = F.scaled_dot_product_attention(queries, keys, values, attn_mask=wide)
            result[start:end].view(count, width, self.heads, -1).copy_(found.transpose(1, 2))
        result[end:] = 0
        return result

    def _pooled(self, hidden: torch.Tensor, span: Span, mask: torch.Tensor | None) -> torch.Tensor:
        start, count, width = span
        values = hidden[start : start + count * width].view(count, width, self.width)
        if self.cls:
            return values[:, 0].float()
        if mask is None:
            return values.mean(dim=1, dtype=torch.float32)
        weights = mask[:, :, None].to(torch.float32)
        return (values * weights).sum(dim=1) / weights.sum(dim=1)

    def _finish(self, values: torch.Tensor) -> torch.Tensor:
        return F.normalize(values, dim=1) if self.normalise else values


def known(model: SentenceTransformer) -> str | None:
    """Why the own forward pass does not fit a model; None when it does."""
    modules = list(model)
    body = getattr(modules[0], "model", None)
    if type(body).__name__ not in _POSITIONS:
        return f"{type(body or modules[0]).__name__} is not of BERT's shape"
    return _pooling(modules) or _layers(body)


def _pooling(modules: Sequence[Any]) -> str | None:
    if len(modules) < 2 or not isinstance(modules[1], Pooling):
        return "its vectors are not pooled from tokens"
    if modules[1].pooling_mode not in ("mean", "cls") or not modules[1].include_prompt:
        return f"its pooling is {modules[1].pooling_mode}, or leaves the prompt out"
    if len(modules) > 3 or (len(modules) == 3 and not isinstance(modules[2], Normalize)):
        return "something other than normalisation follows its pooling"
    return None


def _layers(body: Any) -> str | None:
    config = body.config
    if config.hidden_act != "gelu" or config.is_decoder or getattr(config, "add_cross_attention", False):
        return "its layers are not those of an encoder with GELU"
    linear = [module for module in body.encoder.modules() if hasattr(module, "in_features")]
    if any(type(module) is not torch.nn.Linear or module.bias is None for module in linear):
        return "its layers have been changed"
    return None


def build(
    model: SentenceTransformer, precision: str, device: torch.device, expected: Any
) -> tuple[Packed | None, bool, str]:
    """The own forward pass where it agrees with the library's, whether its vectors are `alone`, and what to tell.

    `expected` gives the library's float32 vectors (b, d) of tokens int64 (b, s) without padding.
    """
    reason = known(model)
    if reason is not None:
        return None, False, f"the library's forward pass is used: {reason}"
    plain = np.setdiff1d(np.arange(model[0].model.config.vocab_size), model.tokenizer.all_special_ids)
    draw = np.random.default_rng(0)
    texts = [draw.choice(plain, min(length, model.max_seq_length)) for length in _PROBE]
    reference = torch.cat([expected(torch.from_numpy(text[None]).to(device)) for text in texts]).cpu()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    exact = _try(Packed(model, torch.float32, device, prepack=False), texts)
    found = Packed(model, dtype, device, prepack=True)
    for values, least in ((exact, SAME_FP32), (_try(found, texts), SAME_FP32 if precision == "fp32" else SAME_BF16)):
        cosine = float(F.cosine_similarity(values.double(), reference.double(), dim=1).min())
        if not cosine >= least:
            return None, False, f"the library's forward pass is used: the own one gave a cosine of {cosine:.6f} to it"
    alone = device.type == "cpu" and _alone(found, texts)
    return found, alone, ""


def _try(packed: Packed, texts: Sequence[np.ndarray]) -> torch.Tensor:
    if packed.device.type == "cpu":
        return packed.frame(texts, FRAME)
    both = [packed.block(torch.from_numpy(text[None]).to(packed.device), None) for text in texts]
    return torch.cat(both).cpu()


def _alone(packed: Packed, texts: Sequence[np.ndarray]) -> bool:
    """Whether each text has the same bits by itself, and among others at another place of the frame."""
    together = packed.frame(texts, FRAME)
    apart = torch.cat([packed.frame([text], FRAME) for text in texts[::2]])
    return torch.equal(apart, together[::2])


def _prepacks(dtype: torch.dtype) -> bool:
    """Whether oneDNN's prepacked products are there. The operators are torch's own, and not promised to stay."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    try:
        weight = torch.eye(32, dtype=dtype)
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, 32)
        return torch.equal(
            torch.ops.mkldnn._linear_pointwise(weight, packed, weight[0], "none", [], "")[1:], weight[1:] + weight[0]
        )
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
