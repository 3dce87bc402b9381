"""Frames of `stages.encoders._packed` on a processor with AMX: the layers are compiled, see `stages.compiled.layers`.

A frame has as many rows as its texts have tokens, and some to fill the last tile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

if TYPE_CHECKING:
    from stages.encoders._packed import Packed

_NEEDED = {"+amx-bf16", "+amx-tile", "+avx512bf16", "+avx512bw", "+avx512dq"}
_RAISED = 384  # rows whose widest values, those within the feed-forward part, are held: they stay in the cache


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


def _room(*sizes: int) -> list[np.ndarray]:
    """uint16 arrays that begin with a line of the cache, as torch's memory does, so that no row of a tile lies in two."""
    return [torch.empty(size, dtype=torch.uint16).numpy() for size in sizes]


class _Linear(NamedTuple):
    """The arguments of `stages.compiled.layers.product` that say by what it multiplies."""

    weights: np.ndarray  # uint16 (n · k,)
    bias: np.ndarray  # float32 (n,)
    k: int


class Tiled:
    """The forward pass of a model whose weights are in tiles."""

    def __init__(self, own: Packed) -> None:
        from stages.compiled import layers

        self.own, self.code = own, layers
        self.depth = own.width // own.heads // 32
        self.scale = np.float32(math.log2(math.e) / math.sqrt(32 * self.depth))
        self.words, self.positions, self.norm = _bits(own.words), _bits(own.positions), self._norm(own.norm)
        self.tiles = np.zeros(
            64, dtype=np.uint8
        )  # the first palette; bytes a row from 16 on, in uint16, and rows from 48 on
        self.tiles[0], self.tiles[16:32:2], self.tiles[48:56] = 1, 64, 16
        products = ("qkv", "output", "up", "down")
        self.layers = [
            (
                *(self._linear(getattr(one, name)) for name in products),
                *map(self._norm, (one.first_norm, one.second_norm)),
            )
            for one in own.layers
        ]

    def vectors(self, ids: Sequence[np.ndarray]) -> torch.Tensor:
        """Pooled vectors float32 (m, d) of texts, their tokens int64."""
        own, code, multiply = self.own, self.code, self._multiply
        widths = np.array([len(one) for one in ids])
        starts, tokens = np.cumsum(widths) - widths, int(widths.sum())
        rows = -(-tokens // 32) * 32
        flat, places = np.zeros(rows, dtype=np.int64), np.full(rows, own.first_position)
        np.concatenate(ids, out=flat[:tokens])
        places[:tokens] += np.arange(tokens) - np.repeat(starts, widths)
        size = rows * own.width
        hidden, mixed, added, parts, raised = _room(size, size, size, 3 * size, _RAISED * len(self.layers[0][2].bias))
        code.embeddings(self.words, flat, self.positions, places, *self.norm, hidden)
        for qkv, output, up, down, first_norm, second_norm in self.layers:
            multiply(hidden, rows, rows, qkv, parts, rows)
            code.attention(parts, rows, starts, widths, own.heads, self.depth, self.scale, self.tiles, mixed)
            multiply(mixed, rows, rows, output, added, rows)
            code.add_normalised(hidden, rows, added, *first_norm)
            for row in range(0, rows, _RAISED):
                count = min(_RAISED, rows - row)
                multiply(hidden[32 * row :], rows, count, up, raised, _RAISED, gelu=True)
                multiply(raised, _RAISED, count, down, added[32 * row :], rows)
            code.add_normalised(hidden, rows, added, *second_norm)
        found = torch.empty((len(ids), own.width))
        code.means(hidden, rows, starts, np.ones_like(widths) if own.cls else widths, found.numpy())
        return found

    def product(self, values: torch.Tensor, by: Any) -> torch.Tensor:
        """One linear layer of values (t, k), which lie in memory as those of a frame do, and so does what is returned."""
        rows, linear = len(values), self._linear(by)
        out = torch.empty((rows, len(linear.bias)), dtype=values.dtype)
        for row in range(0, rows, _RAISED):
            self._multiply(
                _bits(values)[32 * row :], rows, min(_RAISED, rows - row), linear, _bits(out)[32 * row :], rows
            )
        return out

    def _multiply(
        self, values: np.ndarray, rows: int, count: int, by: _Linear, out: np.ndarray, lines: int, gelu: bool = False
    ) -> None:
        self.code.product(values, rows, count, *by, gelu, self.tiles, out, lines)

    @staticmethod
    def _linear(of: Any) -> _Linear:
        return _Linear(_bits(of.weight), of.bias.numpy(), of.weight.numel() // of.bias.numel())

    def _norm(self, norm: Any) -> tuple[np.ndarray, np.ndarray, np.float32]:
        return norm.weight.numpy(), norm.bias.numpy(), np.float32(self.own.epsilon)
