"""Frames of `stages.encoders._packed` on a processor with AMX: the layers are compiled, see `stages.compiled.layers`.

A frame has as many rows as its texts have tokens, and some to fill the last tile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from stages.encoders._packed import Packed

_NEEDED = {"+amx-bf16", "+amx-tile", "+avx512bf16", "+avx512bw", "+avx512dq"}
_RAISED = 256  # rows whose widest values, those within the feed-forward part, are held: they stay in the cache


def possible(width: int, heads: int, between: int) -> bool:
    """Whether processor, system and Numba have what it takes, for `heads` of a width and `between` in the feed-forward part."""
    if width % heads or width // heads not in (32, 64) or between % 32:
        return False
    try:
        if not torch.cpu._init_amx():  # type: ignore[no-untyped-call]  # asks the system for the tiles
            return False
    except AttributeError:
        return False
    from numba.core.registry import cpu_target

    features = cpu_target.target_context.codegen().magic_tuple()[2]
    return set(features.split(",")) >= _NEEDED


def weights(values: torch.Tensor) -> torch.Tensor:
    """Weights (n, k) of a linear layer as `stages.compiled.layers.product` reads them: bf16 (n · k,)."""
    n, k = values.shape
    parts = values.to(torch.bfloat16).view(n // 32, 2, 16, k // 32, 16, 2)
    return parts.permute(0, 3, 1, 4, 2, 5).reshape(-1)


def _bits(values: torch.Tensor) -> np.ndarray:
    """The memory of a bf16 tensor: uint16 (n,)."""
    return np.asarray(values.view(torch.uint16).numpy()).reshape(-1)


class Tiled:
    """The forward pass of a model whose weights are in tiles."""

    def __init__(self, own: Packed) -> None:
        from stages.compiled import layers

        self.own, self.code = own, layers
        self.depth = own.width // own.heads // 32
        self.scale = np.float32(math.log2(math.e) / math.sqrt(32 * self.depth))
        self.words, self.positions = _bits(own.words), _bits(own.positions)
        self.tiles = np.zeros(64, dtype=np.uint8)  # the first palette; bytes a row from 16 on, in uint16, and rows from 48 on
        self.tiles[0], self.tiles[16:32:2], self.tiles[48:56] = 1, 64, 16

    def vectors(self, ids: Sequence[np.ndarray]) -> torch.Tensor:
        """Pooled vectors float32 (m, d) of texts, their tokens int64."""
        own, code = self.own, self.code
        widths = np.array([len(one) for one in ids])
        starts, tokens = np.cumsum(widths) - widths, int(widths.sum())
        rows = -(-tokens // 32) * 32
        flat, places = np.zeros(rows, dtype=np.int64), np.full(rows, own.first_position)
        np.concatenate(ids, out=flat[:tokens])
        places[:tokens] += np.arange(tokens) - np.repeat(starts, widths)
        hidden, mixed, added = (np.empty(rows * own.width, dtype=np.uint16) for _ in range(3))
        qkv = np.empty(3 * len(hidden), dtype=np.uint16)
        raised = np.empty(_RAISED * own.layers[0].up.bias.numel(), dtype=np.uint16)
        code.embeddings(self.words, flat, self.positions, places, *self._norm(own.norm), hidden)
        for layer in own.layers:
            self._product(hidden, rows, rows, layer.qkv, qkv, rows)
            code.attention(qkv, rows, starts, widths, own.heads, self.depth, self.scale, self.tiles, mixed)
            self._product(mixed, rows, rows, layer.output, added, rows)
            code.add_normalised(hidden, rows, added, *self._norm(layer.first_norm))
            for row in range(0, rows, _RAISED):
                count = min(_RAISED, rows - row)
                self._product(hidden[32 * row :], rows, count, layer.up, raised, _RAISED, raised=True)
                self._product(raised, _RAISED, count, layer.down, added[32 * row :], rows)
            code.add_normalised(hidden, rows, added, *self._norm(layer.second_norm))
        found = np.empty((len(ids), own.width), dtype=np.float32)
        code.means(hidden, rows, starts, np.ones_like(widths) if own.cls else widths, found)
        return torch.from_numpy(found)

    def product(self, values: torch.Tensor, by: Any) -> torch.Tensor:
        """One linear layer of values (t, k), which lie in memory as those of a frame do."""
        out = torch.empty((len(values), by.bias.numel()), dtype=values.dtype)
        self._product(_bits(values), len(values), len(values), by, _bits(out), len(values))
        return out

    def _product(
        self, values: np.ndarray, rows: int, count: int, by: Any, out: np.ndarray, lines: int, raised: bool = False
    ) -> None:
        bias = by.bias.numpy()
        k = by.weight.numel() // len(bias)
        self.code.product(values, rows, count, _bits(by.weight), bias, k, raised, self.tiles, out, lines)

    def _norm(self, norm: Any) -> tuple[np.ndarray, np.ndarray, np.float32]:
        return norm.weight.numpy(), norm.bias.numpy(), np.float32(self.own.epsilon)
