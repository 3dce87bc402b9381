"""Products of documents and queries that tell, with a proven bound, which pairs can score above a limit.

A kernel rounds both sides to a cheap type and multiplies. Its score of a pair lies within `bound` of the exact one:

    |q·d - q̂·d̂| ≤ |q - q̂||d| + |q̂||d - d̂| + γ|q̂||d̂|        (Cauchy and Schwarz; γ is the rounding of float32 sums)

Both errors of rounding are measured on the vectors themselves, not modelled. Queries have length 1 here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from stages.float32 import whole_float32
from stages.scoring import flat

PACK = {"cpu": 512, "cuda": 8_192}
"""Queries of one product. With some 1,000 documents what comes out, a byte or two a pair, stays in a core's own cache."""
_TINY = 1e-36  # covers products that a processor flushes to zero


class Documents(NamedTuple):
    """A block of documents as a kernel multiplies them."""

    codes: Any  # (n, d)
    scale: float  # of codes
    length: float  # the longest document
    error: float  # the largest |d - d̂|


class Pack(NamedTuple):
    """Some queries as a kernel multiplies them, padded with zeros to a multiple of 8."""

    codes: Any
    scale: Any


class Queries(NamedTuple):
    """Queries of length 1, or 0."""

    packs: list[Pack]
    length: np.ndarray  # float64 (m,), |q̂|
    error: np.ndarray  # float64 (m,), |q - q̂|


def together(parts: Sequence[Queries]) -> Queries:
    """Queries of full packs, the last of which may be a smaller one, as they follow each other."""
    lengths, errors = (np.concatenate(column) for column in list(zip(*parts, strict=True))[1:])
    return Queries([pack for part in parts for pack in part.packs], lengths, errors)


class Pairs(NamedTuple):
    """Pairs that can score above a limit."""

    documents: np.ndarray  # int32 (t,), positions in the block
    queries: np.ndarray  # uint16 (t,), positions in the pack
    least: np.ndarray  # float32 (t,), what the exact score is at least
    most: np.ndarray  # float32 (t,), what it is at most; infinite at the top of a kernel's range


class Kernel(Protocol):
    """One way of multiplying."""

    @property
    def name(self) -> str:
        """What it is called in the configuration."""
        ...

    @property
    def device(self) -> str:
        """Where it multiplies: cpu or cuda."""
        ...

    def documents(self, values: np.ndarray, known: Documents | None = None) -> Documents:
        """Encodes float32 (n, d). `known` is what this gave before for the same values; its codes may be gone."""
        ...

    def queries(self, values: np.ndarray) -> Queries:
        """Encodes float32 (m, d), each of length 1 or 0."""
        ...

    def scores(self, documents: Documents, pack: Pack) -> Any:
        """The kernel's scores: a tensor of floats (n, m padded), which the next call may write over."""
        ...

    def above(
        self, documents: Documents, queries: Queries, limit: np.ndarray, span: np.ndarray, wanted: Iterable[int]
    ) -> Iterator[tuple[int, Pairs]]:
        """The `wanted` packs, each with all its pairs that can score above `limit`, float64 (m,).

        Scores up to `span`, (packs,), above it are told apart.
        """
        ...


def bound(documents: Documents, queries: Queries, terms: int) -> np.ndarray:
    """How far a kernel's score may be from the exact one: float64 (m,). `terms` is the number of roundings in a sum."""
    gamma = terms * 2.0**-24 / (1 - terms * 2.0**-24)
    rounded = documents.length + documents.error
    return np.asarray(queries.error * documents.length + queries.length * (documents.error + gamma * rounded) + _TINY)


def _padded(values: np.ndarray) -> np.ndarray:
    """Rows of zeros after (m, d) to a multiple of 8."""
    return np.concatenate([values, np.zeros((-len(values) % 8, values.shape[1]), dtype=values.dtype)])


def _lengths(values: Any) -> Any:
    """Euclidean lengths of the rows of a tensor, in float64."""
    import torch

    return torch.linalg.vector_norm(values, dim=1, dtype=torch.float64)


def _longest(values: Any) -> float:
    """An upper bound of the largest Euclidean length of the rows of a float32 tensor (n, d).

    In float32, a sum of d squares and its root are off by less than a fraction (d + 4) · 2^-24, in whatever order they are
    summed, and squares below the range take less than 2e-19 · √d with them. Squares above it are summed in float64.
    """
    import torch

    d = values.shape[1]
    longest = float(torch.linalg.vector_norm(values, dim=1).max())
    if not np.isfinite(longest):
        return float(_lengths(values).max())
    return float(longest * (1 + (d + 4) * 2.0**-23) + 2e-19 * d**0.5)


def rounded_down(exact: np.ndarray) -> np.ndarray:
    """The float32 values next below float64 ones, or equal to them."""
    floor = exact.astype(np.float32)
    floor[floor > exact] = np.nextafter(floor[floor > exact], np.float32(-np.inf))
    return np.asarray(floor)


def packed(values: np.ndarray, device: str, padding: float) -> list[np.ndarray]:
    """Pieces of (m,) for each pack, padded as its queries are."""
    parts = [values[start : start + PACK[device]] for start in range(0, len(values), PACK[device])]
    missing = [-len(part) % 8 for part in parts]
    return [np.pad(p, (0, m), constant_values=padding) if m else p for p, m in zip(parts, missing, strict=True)]


def encoded(
    values: np.ndarray, device: str, encode: Callable[[np.ndarray], tuple[Pack, np.ndarray, np.ndarray]]
) -> Queries:
    """Queries float32 (m, d) from what `encode` gives for each pack of them: codes, lengths and errors."""
    parts = (encode(values[start : start + PACK[device]]) for start in range(0, len(values), PACK[device]))
    packs, lengths, errors = zip(*parts, strict=True)
    return Queries(list(packs), np.concatenate(lengths), np.concatenate(errors))


class Room(threading.local):
    """Memory for a product and as many pairs as it can have, of each thread, which is used again: pairs are copied."""

    def __init__(self) -> None:
        self._columns: list[np.ndarray] = []
        self._scores: list[Any] = []

    def scores(self, rows: int, columns: int) -> Any:
        """A float32 tensor, as new memory each time costs half as much again as the product."""
        import torch

        if not self._scores or len(self._scores[0]) < rows * columns:
            self._scores = [torch.empty(rows * columns)]
        return self._scores[0][: rows * columns].view(rows, columns)

    def filled(self, most: int, fill: Callable[..., int], *given: Any) -> Pairs:
        """The pairs that a compiled loop finds, `most` or fewer."""
        if not self._columns or len(self._columns[0]) < most:
            types = (np.int32, np.uint16, np.float32, np.float32)
            self._columns = [np.empty(most, dtype=dtype) for dtype in types]
        count = fill(*given, *self._columns)
        return Pairs(*(column[:count].copy() for column in self._columns))


def _over(scores: Any, floor: np.ndarray, error: np.ndarray) -> Pairs:
    """What `of_float32` finds, on a GPU."""
    import torch

    places = torch.nonzero(scores > torch.from_numpy(floor).to(scores.device))
    rough = scores[places[:, 0], places[:, 1]].float().cpu().numpy()
    row, query = places.cpu().numpy().T
    off = error[query] + np.abs(rough) * np.float32(2.0**-21)
    return Pairs(row.astype(np.int32), query.astype(np.uint16), rough - off, rough + off)


@dataclass(frozen=True)
class Int8:
    """Unsigned 8-bit documents, one scale a block, and signed 8-bit queries, one scale a query, through oneDNN.

    The product, the limit, the rectifier and the rounding to 8 bits are one call, so what goes through memory is a byte a
    pair. Sums are exact in 32 bits. Fast with VNNI or AMX.
    """

    name: str = "int8"
    device: str = "cpu"
    room: Room = field(default_factory=Room, compare=False, repr=False)

    def documents(self, values: np.ndarray, known: Documents | None = None) -> Documents:
        import torch

        from stages.compiled.codes import to_bytes

        if known is not None and known.codes is not None:
            return known
        codes = np.empty(values.shape, dtype=np.uint8)
        scale, length, error = to_bytes(flat(values), codes)
        return Documents(torch.from_numpy(codes), scale, length, error)

    def queries(self, values: np.ndarray) -> Queries:
        return encoded(values, self.device, self._encode)

    def _encode(self, values: np.ndarray) -> tuple[Pack, np.ndarray, np.ndarray]:
        import torch

        scale = np.abs(values).max(axis=1).astype(np.float32) / np.float32(127)
        scale[scale == 0] = 1
        codes = np.rint(values / scale[:, None]).clip(-127, 127)
        rounded = codes.astype(np.float64) * scale[:, None]
        across = torch.ops.onednn.qlinear_prepack(torch.from_numpy(_padded(codes.astype(np.int8))), None)
        scales = torch.from_numpy(np.concatenate([scale, np.ones(-len(scale) % 8, dtype=np.float32)]))
        length, error = (np.linalg.norm(v, axis=1) for v in (rounded, values.astype(np.float64) - rounded))
        return Pack(across, scales), length, error

    def scores(self, documents: Documents, pack: Pack) -> Any:
        import torch

        return self._product(documents, pack, torch.zeros(len(pack.scale)), 1.0, out=torch.float32, activation="none")

    def above(
        self, documents: Documents, queries: Queries, limit: np.ndarray, span: np.ndarray, wanted: Iterable[int]
    ) -> Iterator[tuple[int, Pairs]]:
        import torch

        from stages.compiled.pairs import of_bytes

        off = bound(documents, queries, 16)
        size = PACK[self.device]
        widest = np.maximum.reduceat(off, np.arange(0, len(off), size))
        steps = np.maximum(((span + 2 * widest) / 250).astype(np.float32), np.float32(1e-30))
        half = 0.501 * np.repeat(steps.astype(np.float64), size)[: len(off)]  # what rounds to 0 lies below half a step
        floors = rounded_down(limit - (off + half))
        error = off + half + np.abs(floors) * 2.0**-21
        low, high = (floors - error).astype(np.float32), (floors + error).astype(np.float32)
        biases = packed(-floors, self.device, -1e38)
        for pack in wanted:
            step = steps[pack]
            excess = self._product(
                documents, queries.packs[pack], torch.from_numpy(biases[pack]), float(step), out=None, activation="relu"
            )
            values, part = excess.view(-1).numpy(), slice(pack * size, (pack + 1) * size)
            found = excess.shape[1], step, low[part], high[part]
            yield pack, self.room.filled(values.size, of_bytes, values, *found)

    def _product(self, documents: Documents, pack: Pack, bias: Any, step: float, *, out: Any, activation: str) -> Any:
        import torch

        zero = torch.zeros(len(pack.scale), dtype=torch.int32)
        return torch.ops.onednn.qlinear_pointwise(
            documents.codes, documents.scale, 128, pack.codes, pack.scale, zero,
            bias, step, 0, out, activation, [], "",
        )  # fmt: skip


@dataclass(frozen=True)
class Bf16:
    """Both sides in bfloat16 through oneDNN, with the limit and the rectifier in the same call. Fast with AMX or AVX512_BF16."""

    name: str = "bf16"
    device: str = "cpu"
    room: Room = field(default_factory=Room, compare=False, repr=False)

    def documents(self, values: np.ndarray, known: Documents | None = None) -> Documents:
        import torch

        from stages.compiled.codes import to_bfloat16

        if known is not None:
            return known._replace(codes=torch.from_numpy(values).bfloat16())
        codes = np.empty(values.shape, dtype=np.uint16)
        length, error = to_bfloat16(flat(values), codes)
        return Documents(torch.from_numpy(codes).view(torch.bfloat16), 1.0, length, error)

    def queries(self, values: np.ndarray) -> Queries:
        return encoded(values, self.device, self._encode)

    def _encode(self, values: np.ndarray) -> tuple[Pack, np.ndarray, np.ndarray]:
        import torch

        exact = torch.from_numpy(_padded(values))
        codes = exact.bfloat16()
        length, error = (_lengths(v)[: len(values)].numpy() for v in (codes.float(), exact - codes.float()))
        return Pack(torch.ops.mkldnn._reorder_linear_weight(codes, None), None), length, error

    def scores(self, documents: Documents, pack: Pack) -> Any:
        import torch

        return torch.ops.mkldnn._linear_pointwise(documents.codes, pack.codes, None, "none", [], "")

    def above(
        self, documents: Documents, queries: Queries, limit: np.ndarray, span: np.ndarray, wanted: Iterable[int]
    ) -> Iterator[tuple[int, Pairs]]:
        import torch

        from stages.compiled.pairs import of_bfloat16

        off = bound(documents, queries, 2 * documents.codes.shape[1] + 16)
        floors = _down(rounded_down(limit - off))
        error = off + np.abs(floors) * 2.0**-21
        low, high = (floors - error).astype(np.float32), (floors + error).astype(np.float32)
        size = PACK[self.device]
        biases = [torch.from_numpy(part).bfloat16() for part in packed(-floors, self.device, -1e38)]
        for pack in wanted:
            excess = torch.ops.mkldnn._linear_pointwise(
                documents.codes, queries.packs[pack].codes, biases[pack], "relu", [], ""
            )
            values, part = excess.view(-1).view(torch.uint16).numpy(), slice(pack * size, (pack + 1) * size)
            found = excess.shape[1], low[part], high[part]
            yield pack, self.room.filled(values.size, of_bfloat16, values, *found)


def _down(values: np.ndarray) -> np.ndarray:
    """Float32 values rounded down to what bfloat16 can hold."""
    bits = values.view(np.uint32)
    exact = bits & np.uint32(0xFFFF0000)
    away = exact + np.where((values < 0) & (bits != exact), np.uint32(0x10000), np.uint32(0))
    return away.view(np.float32)


@dataclass(frozen=True)
class Dense:
    """Plain matrix products, then a comparison: float32 on any processor, and bfloat16 or float32 on a GPU."""

    dtype: str = "float32"
    device: str = "cpu"
    blas: str = "torch"  # or numpy, whose library is the faster one on some processors
    room: Room = field(default_factory=Room, compare=False, repr=False)

    @property
    def name(self) -> str:
        return "fp32" if self.dtype == "float32" else "bf16"

    def documents(self, values: np.ndarray, known: Documents | None = None) -> Documents:
        if known is not None and known.codes is not None:
            return known
        exact, codes = self._codes(values)
        if known is not None:
            return known._replace(codes=codes)
        length = _longest(exact)
        error = 0.0 if codes is exact else _longest(exact - codes.float())
        return Documents(codes, 1.0, length, error)

    def queries(self, values: np.ndarray) -> Queries:
        return encoded(values, self.device, self._encode)

    def _encode(self, values: np.ndarray) -> tuple[Pack, np.ndarray, np.ndarray]:
        exact, codes = self._codes(_padded(values))
        length, error = (_lengths(v)[: len(values)].cpu().numpy() for v in (codes.float(), exact - codes.float()))
        across = codes.T  # (d, m)
        return Pack(across.contiguous() if self.device == "cpu" else across, None), length, error

    def scores(self, documents: Documents, pack: Pack) -> Any:
        import torch

        left, right = documents.codes, pack.codes
        if self.device == "cpu":
            out = self.room.scores(len(left), right.shape[1])
            if self.blas == "numpy":
                np.matmul(left.numpy(), right.numpy(), out=out.numpy())
                return out
            return torch.mm(left, right, out=out)
        with whole_float32():
            return left @ right

    def above(
        self, documents: Documents, queries: Queries, limit: np.ndarray, span: np.ndarray, wanted: Iterable[int]
    ) -> Iterator[tuple[int, Pairs]]:
        from stages.compiled.pairs import of_float32

        # Tensor cores cut off where others round, which doubles an error, and `bound` counts two roundings a value.
        off = bound(documents, queries, 2 * documents.codes.shape[1] + 16)
        if self.dtype != "float32":  # the product is rounded when it is stored
            off = off + 2.0**-8 * queries.length * (documents.length + documents.error)
        size, floors = PACK[self.device], rounded_down(limit - off)
        errors = np.nextafter(off.astype(np.float32), np.float32(np.inf))
        for pack in wanted:
            scores, part = self.scores(documents, queries.packs[pack]), slice(pack * size, (pack + 1) * size)
            if self.device == "cpu":
                yield pack, self.room.filled(scores.numel(), of_float32, scores.numpy(), floors[part], errors[part])
            else:
                yield pack, _over(scores[:, : len(floors[part])], floors[part], errors[part])

    def _codes(self, values: np.ndarray) -> tuple[Any, Any]:
        import torch

        exact = torch.from_numpy(values).to(self.device)
        return exact, exact.to(getattr(torch, self.dtype))
