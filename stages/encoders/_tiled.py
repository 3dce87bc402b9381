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

_RAISED = 384  # rows whose widest values, those within the feed-forward part, are held: they stay in the cache


def possible(width: int, heads: int, between: int) -> bool:
    """Whether processor, system and Numba have what it takes, for `heads` of a width and `between` in the feed-forward part."""
    if width % heads or width // heads not in (32, 64) or between % 32:
        return False
    from stages.compiled.instructions import available

    return available()


def weights(values: torch.Tensor) -> torch.Tensor:
    """Weights (n, k) of a linear layer as `stages.compiled.layers.product` reads them: bf16 (n · k,)."""
    from stages.compiled.instructions import in_turns

    found: torch.Tensor = in_turns(values.to(torch.bfloat16))
    return found.reshape(-1)


def _bits(values: torch.Tensor) -> np.ndarray:
    """The memory of a bf16 tensor: uint16 (n,)."""
    return np.asarray(values.view(torch.uint16).numpy()).reshape(-1)


class _Rows(NamedTuple):
    """An array (rows, d) as `stages.compiled.layers` has it, or its rows from one on."""

    bits: np.ndarray  # uint16, of bf16
    rows: int  # those of the whole array

    @classmethod
    def empty(cls, rows: int, d: int) -> _Rows:
        """An array that begins with a line of the cache, as torch's memory does, so that no row of a tile lies in two."""
        return cls(torch.empty(rows * d, dtype=torch.uint16).numpy(), rows)

    def from_row(self, row: int) -> _Rows:
        return _Rows(self.bits[32 * row :], self.rows)


class _Linear(NamedTuple):
    """The arguments of `stages.compiled.layers.product` that say by what it multiplies."""

    weights: np.ndarray  # uint16 (n · k,)
    bias: np.ndarray  # float32 (n,)
    k: int


_Norm = tuple[np.ndarray, np.ndarray, np.float32]  # weight and bias, float32 (d,), and epsilon


class _Layer(NamedTuple):
    qkv: _Linear
    output: _Linear
    first_norm: _Norm
    up: _Linear
    down: _Linear
    second_norm: _Norm


class Tiled:
    """The forward pass of a model whose weights are in tiles."""

    def __init__(self, own: Packed) -> None:
        from stages.compiled import layers
        from stages.compiled.instructions import whole_tiles

        self.own, self.code = own, layers
        self.depth = own.width // own.heads // 32
        self.scale = np.float32(math.log2(math.e) / math.sqrt(32 * self.depth))
        self.words, self.positions, self.norm = _bits(own.words), _bits(own.positions), self._norm(own.norm)
        self.tiles = whole_tiles()
        self.layers = [
            _Layer(
                self._linear(one.qkv), self._linear(one.output), self._norm(one.first_norm),
                self._linear(one.up), self._linear(one.down), self._norm(one.second_norm),
            )
            for one in own.layers
        ]  # fmt: skip

    def vectors(self, ids: Sequence[np.ndarray]) -> torch.Tensor:
        """Pooled vectors float32 (m, d) of texts, their tokens int64."""
        own, code = self.own, self.code
        widths = np.array([len(one) for one in ids])
        starts, tokens = np.cumsum(widths) - widths, int(widths.sum())
        rows = -(-tokens // 32) * 32
        flat, places = np.zeros(rows, dtype=np.int64), np.full(rows, own.first_position)
        np.concatenate(ids, out=flat[:tokens])
        places[:tokens] += np.arange(tokens) - np.repeat(starts, widths)
        if flat.max() >= len(own.words) or places.max() >= len(own.positions):
            raise IndexError("a token or its place is not among the embeddings of the model")
        hidden, mixed, added = (_Rows.empty(rows, own.width) for _ in range(3))
        parts, raised = _Rows.empty(rows, 3 * own.width), _Rows.empty(_RAISED, len(self.layers[0].up.bias))
        code.embeddings(self.words, flat, self.positions, places, *self.norm, hidden.bits)
        for layer in self.layers:
            self._multiply(hidden, rows, layer.qkv, parts)
            code.attention(*parts, starts, widths, own.heads, self.depth, self.scale, self.tiles, mixed.bits)
            self._multiply(mixed, rows, layer.output, added)
            code.add_normalised(*hidden, added.bits, *layer.first_norm)
            for row in range(0, rows, _RAISED):
                count = min(_RAISED, rows - row)
                self._multiply(hidden.from_row(row), count, layer.up, raised, gelu=True)
                self._multiply(raised, count, layer.down, added.from_row(row))
            code.add_normalised(*hidden, added.bits, *layer.second_norm)
        found = torch.empty((len(ids), own.width))
        code.means(*hidden, starts, np.ones_like(widths) if own.cls else widths, found.numpy())
        return found

    def product(self, values: torch.Tensor, by: Any) -> torch.Tensor:
        """One linear layer of values (t, k), which lie in memory as those of a frame do, and so does what is returned."""
        rows, linear = len(values), self._linear(by)
        found = torch.empty((rows, len(linear.bias)), dtype=values.dtype)
        given, out = _Rows(_bits(values), rows), _Rows(_bits(found), rows)
        for row in range(0, rows, _RAISED):
            self._multiply(given.from_row(row), min(_RAISED, rows - row), linear, out.from_row(row))
        return found

    def _multiply(self, given: _Rows, count: int, by: _Linear, out: _Rows, *, gelu: bool = False) -> None:
        self.code.product(*given, count, *by, gelu, self.tiles, *out)

    @staticmethod
    def _linear(of: Any) -> _Linear:
        return _Linear(_bits(of.weight), of.bias.numpy(), of.weight.numel() // of.bias.numel())

    def _norm(self, norm: Any) -> _Norm:
        return norm.weight.numpy(), norm.bias.numpy(), np.float32(self.own.epsilon)
