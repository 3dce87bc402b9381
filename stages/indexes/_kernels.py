"""Products of documents and queries that tell, with a proven bound, which pairs can score above a limit.

A kernel rounds both sides to a cheap type and multiplies. Its score of a pair lies within `bound` of the exact one:

    |q·d - q̂·d̂| ≤ |q - q̂||d| + |q̂||d - d̂| + γ|q̂||d̂|        (Cauchy and Schwarz; γ is the rounding of float32 sums)

Both errors of rounding are measured on the vectors themselves, not modelled. Queries have length 1 here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

_TINY = 1e-36  # covers products that a processor flushes to zero


class Documents(NamedTuple):
    """A block of documents as a kernel multiplies them."""

    codes: Any  # (n, d)
    scale: float  # of codes
    length: float  # the longest document
    error: float  # the largest |d - d̂|


class Queries(NamedTuple):
    """A block of queries of length 1, or 0, as a kernel multiplies them."""

    codes: Any  # packed; padded with zeros to a multiple of 8
    scale: Any
    length: np.ndarray  # float64 (m,), |q̂|
    error: np.ndarray  # float64 (m,), |q - q̂|


class Pairs(NamedTuple):
    """Pairs that can score above a limit."""

    documents: np.ndarray  # int64 (t,), positions in the block
    queries: np.ndarray  # int64 (t,)
    rough: np.ndarray  # float32 (t,), the kernel's score
    error: (
        np.ndarray
    )  # float32 (t,); the exact score is at least rough - error, and at most rough + error or rough is the top


class Kernel(Protocol):
    """One way of multiplying."""

    @property
    def name(self) -> str:
        """What it is called in the configuration."""
        ...

    def documents(self, values: np.ndarray, known: Documents | None = None) -> Documents:
        """Encodes float32 (n, d). `known` is what this gave before for the same values; its codes may be gone."""
        ...

    def queries(self, values: np.ndarray) -> Queries:
        """Encodes float32 (m, d), each of length 1 or 0."""
        ...

    def scores(self, documents: Documents, queries: Queries) -> Any:
        """The kernel's scores: a tensor of floats (n, m padded), which the next call may write over."""
        ...

    def above(self, documents: Documents, queries: Queries, limit: np.ndarray, span: float) -> Pairs:
        """All pairs that can score above `limit`, float64 (m,). Scores up to `span` above it are told apart."""
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


def _floors(limit: np.ndarray, slack: np.ndarray, padded: int) -> np.ndarray:
    """What a kernel's score must exceed: float32 (padded,), rounded down; no score exceeds that of the padding."""
    exact = limit - slack
    floor = exact.astype(np.float32)
    floor = np.where(floor > exact, np.nextafter(floor, np.float32(-np.inf)), floor)
    return np.concatenate([floor, np.full(padded - len(floor), 1e38)]).astype(np.float32)


def nonzero(matrix: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns of what is not zero, in row order, and its bits; (n, m) of 1 or 2 bytes a value, m a multiple of 8.

    Few values are not zero, so words of 8 bytes are looked at first.
    """
    import torch

    width = 8 // matrix.element_size()
    bits = matrix.reshape(-1).view(torch.uint8 if width == 8 else torch.int16)
    if matrix.is_cpu:  # numpy compares twice as fast as torch
        words = bits.numpy().reshape(-1, width)
        full = np.flatnonzero(np.not_equal(bits.view(torch.int64).numpy(), 0))
        values = words[full].reshape(-1)
        inside = np.flatnonzero(values)
        flat, values = full[inside // width] * width + inside % width, values[inside]
    else:
        found = torch.nonzero(bits.view(torch.int64)).view(-1)
        candidates = bits.view(-1, width)[found].view(-1)
        inner = torch.nonzero(candidates).view(-1)
        flat = (found[torch.div(inner, width, rounding_mode="floor")] * width + inner % width).cpu().numpy()
        values = candidates[inner].cpu().numpy()
    row, column = np.divmod(flat, matrix.shape[1])
    return row, column, values


@dataclass(frozen=True)
class Int8:
    """Unsigned 8-bit documents, one scale a block, and signed 8-bit queries, one scale a query, through oneDNN.

    The product, the limit, the rectifier and the rounding to 8 bits are one call, so what goes through memory is a byte a
    pair. Sums are exact in 32 bits. Fast with VNNI or AMX.
    """

    name: str = "int8"

    def documents(self, values: np.ndarray, known: Documents | None = None) -> Documents:
        import torch

        if known is not None and known.codes is not None:
            return known
        exact = torch.from_numpy(values)
        scale = float(np.float32(float(exact.abs().max()) / 127)) or 1.0
        codes = (exact / scale).round_().clamp_(-127, 127)
        length = _longest(exact)
        error = _longest(torch.sub(exact, codes, alpha=scale)) + length * 2.0**-23  # the rounding of that difference
        return Documents(codes.add_(128).to(torch.uint8), scale, length, error)

    def queries(self, values: np.ndarray) -> Queries:
        import torch

        scale = np.abs(values).max(axis=1).astype(np.float32) / np.float32(127)
        scale[scale == 0] = 1
        codes = np.rint(values / scale[:, None]).clip(-127, 127)
        rounded = codes.astype(np.float64) * scale[:, None]
        packed = torch.ops.onednn.qlinear_prepack(torch.from_numpy(_padded(codes.astype(np.int8))), None)
        scales = torch.from_numpy(np.concatenate([scale, np.ones(-len(scale) % 8, dtype=np.float32)]))
        length, error = (np.linalg.norm(v, axis=1) for v in (rounded, values.astype(np.float64) - rounded))
        return Queries(packed, scales, length, error)

    def scores(self, documents: Documents, queries: Queries) -> Any:
        import torch

        return self._product(
            documents, queries, torch.zeros(len(queries.scale)), 1.0, out=torch.float32, activation="none"
        )

    def above(self, documents: Documents, queries: Queries, limit: np.ndarray, span: float) -> Pairs:
        import torch

        off = bound(documents, queries, 16)
        step = max(float(np.float32((span + 2 * float(off.max(initial=0))) / 250)), 1e-30)
        # What rounds to 0 lies below half a step.
        floor = _floors(limit, off + 0.501 * step, len(queries.scale))
        excess = self._product(documents, queries, torch.from_numpy(-floor), step, out=None, activation="relu")
        row, query, value = nonzero(excess)
        rough = value * np.float32(step) + floor[query]
        error = off[query] + 0.501 * step + np.abs(floor[query]) * 2.0**-21
        return Pairs(row, query, rough, error.astype(np.float32))

    def _product(
        self, documents: Documents, queries: Queries, bias: Any, step: float, *, out: Any, activation: str
    ) -> Any:
        import torch

        zero = torch.zeros(len(queries.scale), dtype=torch.int32)
        return torch.ops.onednn.qlinear_pointwise(
            documents.codes, documents.scale, 128, queries.codes, queries.scale, zero,
            bias, step, 0, out, activation, [], "",
        )  # fmt: skip


@dataclass(frozen=True)
class Bf16:
    """Both sides in bfloat16 through oneDNN, with the limit and the rectifier in the same call. Fast with AMX or AVX512_BF16."""

    name: str = "bf16"

    def documents(self, values: np.ndarray, known: Documents | None = None) -> Documents:
        import torch

        exact = torch.from_numpy(values)
        codes = exact.bfloat16()
        if known is not None:
            return known._replace(codes=codes)
        length, error = (_longest(v) for v in (exact, exact - codes.float()))
        return Documents(codes, 1.0, length, error)  # the difference of two such close floats is exact

    def queries(self, values: np.ndarray) -> Queries:
        import torch

        exact = torch.from_numpy(_padded(values))
        codes = exact.bfloat16()
        length, error = (_lengths(v)[: len(values)].numpy() for v in (codes.float(), exact - codes.float()))
        packed = torch.ops.mkldnn._reorder_linear_weight(codes, None)
        return Queries(packed, torch.ones(len(codes)), length, error)

    def scores(self, documents: Documents, queries: Queries) -> Any:
        import torch

        return torch.ops.mkldnn._linear_pointwise(documents.codes, queries.codes, None, "none", [], "")

    def above(self, documents: Documents, queries: Queries, limit: np.ndarray, span: float) -> Pairs:
        import torch

        off = bound(documents, queries, 2 * documents.codes.shape[1] + 16)
        floor = _down(_floors(limit, off, len(queries.scale)))
        bias = torch.from_numpy(-floor).bfloat16()
        excess = torch.ops.mkldnn._linear_pointwise(documents.codes, queries.codes, bias, "relu", [], "")
        row, query, bits = nonzero(excess)
        value = (bits.astype(np.int32) << 16).view(np.float32)
        error = off[query] + value * 2.0**-8 + np.abs(floor[query]) * 2.0**-21
        return Pairs(row, query, value + floor[query], error.astype(np.float32))


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
    _out: list[Any] = field(
        default_factory=list, compare=False, repr=False
    )  # new memory each time costs half as much again

    @property
    def name(self) -> str:
        return "fp32" if self.dtype == "float32" else "bf16"

    def documents(self, values: np.ndarray, known: Documents | None = None) -> Documents:
        exact, codes = self._encode(values)
        if known is not None:
            return known._replace(codes=codes)
        length = _longest(exact)
        error = 0.0 if codes is exact else _longest(exact - codes.float())
        return Documents(codes, 1.0, length, error)

    def queries(self, values: np.ndarray) -> Queries:
        exact, codes = self._encode(_padded(values))
        length, error = (_lengths(v)[: len(values)].cpu().numpy() for v in (codes.float(), exact - codes.float()))
        return Queries(codes, None, length, error)

    def scores(self, documents: Documents, queries: Queries) -> Any:
        import torch

        left, right = documents.codes, queries.codes.T
        if self.device == "cpu":
            out = self._memory(len(left), right.shape[1])
            if self.blas == "numpy":
                np.matmul(left.numpy(), right.numpy(), out=out.numpy())
                return out
            return torch.mm(left, right, out=out)
        matmul = torch.backends.cuda.matmul
        before = matmul.allow_tf32, matmul.allow_bf16_reduced_precision_reduction
        matmul.allow_tf32 = matmul.allow_bf16_reduced_precision_reduction = False
        try:
            return left @ right
        finally:
            matmul.allow_tf32, matmul.allow_bf16_reduced_precision_reduction = before

    def above(self, documents: Documents, queries: Queries, limit: np.ndarray, span: float) -> Pairs:
        import torch

        off = bound(documents, queries, 2 * documents.codes.shape[1] + 16)
        if self.dtype != "float32":  # the product is rounded when it is stored
            off = off + 2.0**-8 * queries.length * (documents.length + documents.error)
        scores = self.scores(documents, queries)
        floor = torch.from_numpy(_floors(limit, off, scores.shape[1])).to(self.device)
        if scores.is_cpu:  # numpy compares three times as fast
            above = torch.from_numpy(np.greater(scores.numpy(), floor.numpy())).view(torch.uint8)
        else:
            above = (scores > floor).view(torch.uint8)
        row, query, _ = nonzero(above)
        picked = scores.reshape(-1)[torch.from_numpy(row * scores.shape[1] + query).to(scores.device)]
        rough = picked.float().cpu().numpy()
        return Pairs(row, query, rough, (off[query] + np.abs(rough) * 2.0**-21).astype(np.float32))

    def _memory(self, rows: int, columns: int) -> Any:
        import torch

        if not self._out or len(self._out[0]) < rows * columns:
            self._out[:] = [torch.empty(rows * columns)]
        return self._out[0][: rows * columns].view(rows, columns)

    def _encode(self, values: np.ndarray) -> tuple[Any, Any]:
        import torch

        exact = torch.from_numpy(values).to(self.device)
        return exact, exact.to(getattr(torch, self.dtype))
