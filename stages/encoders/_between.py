"""Frames of `stages.encoders._packed` on a processor with AMX: all that lies between the products is compiled.

torch's softmax, its small products of one text's attention and its passes over memory took twice as long as the linear layers
on such a processor (docs/decisions/0018).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from stages.encoders._packed import Packed

_NEEDED = {"+amx-bf16", "+amx-tile", "+avx512bf16", "+avx512bw"}


def possible(width: int, heads: int) -> bool:
    """Whether the processor, its system and Numba allow it, for hidden states of this width in so many heads."""
    if width % heads or width // heads % 32:
        return False
    try:
        if not torch.cpu._init_amx():  # type: ignore[no-untyped-call]  # asks the system for the tiles
            return False
    except AttributeError:
        return False
    from numba.core.registry import cpu_target

    features = cpu_target.target_context.codegen().magic_tuple()[2]
    return set(features.split(",")) >= _NEEDED


def bits(values: torch.Tensor) -> np.ndarray:
    """The memory of a bf16 tensor: uint16 (n,)."""
    return np.asarray(values.view(torch.uint16).numpy()).reshape(-1)


class Between:
    """What a model has beside its products, as compiled code reads it."""

    def __init__(self, own: Packed) -> None:
        from stages.compiled import layers

        self.own, self.code = own, layers
        self.size = own.width // own.heads
        self.scale = np.float32(math.log2(math.e) / math.sqrt(self.size))
        self.words, self.positions = bits(own.words), bits(own.positions)
        self.tiles = np.zeros(64, dtype=np.uint8)  # palette 1; bytes a row as uint16 from 16 on, rows from 48 on
        self.tiles[0], self.tiles[16:32:2], self.tiles[48:56] = 1, 64, 16

    def vectors(self, ids: Sequence[np.ndarray], rows: int) -> torch.Tensor:
        """Pooled vectors float32 (m, d) of texts, their tokens int64, in a frame of `rows` rows."""
        own, code = self.own, self.code
        widths = np.array([len(one) for one in ids])
        starts = np.cumsum(widths) - widths
        flat = np.zeros(rows, dtype=np.int64)
        np.concatenate(ids, out=flat[: widths.sum()])
        places = np.full(rows, own.first_position)
        places[: widths.sum()] += np.arange(widths.sum()) - np.repeat(starts, widths)
        hidden = torch.empty((rows, own.width), dtype=own.dtype)
        attended, within = torch.empty_like(hidden), bits(hidden)
        code.embeddings(self.words, flat, self.positions, places, *self._norm(own.norm), within)
        for layer in own.layers:
            qkv = bits(own._product(hidden, layer.qkv))
            code.attention(qkv, starts, widths, own.heads, self.size, self.scale, self.tiles, bits(attended))
            code.add_normalised(within, bits(own._product(attended, layer.output)), *self._norm(layer.first_norm))
            raised = own._product(hidden, layer.up)
            code.gelu(bits(raised))
            code.add_normalised(within, bits(own._product(raised, layer.down)), *self._norm(layer.second_norm))
        if own.cls:
            return hidden[torch.from_numpy(starts)].float()
        pooled = torch.empty((len(ids), own.width))
        code.means(within, starts, widths, pooled.numpy())
        return pooled

    def _norm(self, norm: Any) -> tuple[np.ndarray, np.ndarray, np.float32]:
        return norm.weight.numpy(), norm.bias.numpy(), np.float32(self.own.epsilon)
