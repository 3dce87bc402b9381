"""Between Arrow columns and numpy arrays without copies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from stages.schemas import vectors


def matrix(table: pa.Table) -> np.ndarray:
    """The vectors of a table as float32 (n, d), however they are stored."""
    blocks = [decoded(batch) for batch in table.to_batches()]
    if not blocks:
        return np.empty((0, table.schema.field("vector").type.list_size), dtype=np.float32)
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def vector_columns(schema: pa.Schema) -> list[str]:
    """The columns that `decoded` needs."""
    return ["vector", "scale"] if "scale" in schema.names else ["vector"]


def decoded(batch: pa.RecordBatch) -> np.ndarray:
    """The vectors of a batch as float32 (n, d): float16 widened, int8 times its scale; float32 without a copy."""
    column = batch.column("vector")
    values = column.flatten().to_numpy(zero_copy_only=True).reshape(-1, column.type.list_size)
    if values.dtype == np.int8:
        return np.asarray(values.astype(np.float32) * batch.column("scale").to_numpy()[:, None])
    return np.asarray(values, dtype=np.float32)


def vector_table(rows: np.ndarray, values: np.ndarray, storage: str = "float32") -> pa.Table:
    """A table of vectors from rows (n,) and values (n, d).

    float16 rounds to nearest, and what is beyond 65,504 becomes infinite. int8 divides a row by its largest absolute value
    over 127 and rounds to nearest.
    """
    values = np.ascontiguousarray(values, dtype=np.float32)
    schema = vectors(values.shape[1], storage)
    columns = [pa.array(rows, pa.int32())]
    scale = np.abs(values).max(axis=1, initial=0) / np.float32(127)
    if storage == "int8":
        values = np.rint(values / np.where(scale > 0, scale, 1)[:, None]).astype(np.int8)
    elif storage == "float16":
        with np.errstate(over="ignore"):
            values = values.astype(np.float16)
    columns.append(pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), type=schema.field("vector").type))
    return pa.table([*columns, *([pa.array(scale)] if storage == "int8" else [])], schema=schema)


def repeated(value: str | None, count: int) -> pa.DictionaryArray:
    """A dictionary column of `count` rows with one value, or with nulls."""
    if value is None:
        return pa.nulls(count, pa.dictionary(pa.int32(), pa.string()))
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, dtype=np.int32)), pa.array([value]))


def coded(codes: np.ndarray, values: Sequence[str]) -> pa.DictionaryArray:
    """A dictionary column from int codes (n,) into `values`."""
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(list(values), pa.string()))


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Cosine of each row of float vectors (n, d) with the same row of the other, in float64: (n,)."""
    left, right = left.astype(np.float64), right.astype(np.float64)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return np.asarray(np.einsum("nd,nd->n", left, right) / np.where(lengths > 0, lengths, 1))


def same_top(left: np.ndarray, right: np.ndarray, asked: int = 32, among: int = 2_048, k: int = 10) -> tuple[int, int]:
    """How many of the k nearest by inner product are the same by either vectors (n, d) of the same rows, and how many there are.

    `asked` rows, evenly spread, look for their nearest among `among` others, evenly spread too.
    """
    rows = (
        np.unique(np.linspace(0, len(left) - 1, min(among, len(left))).astype(np.int64))
        if len(left)
        else np.empty(0, int)
    )
    places = np.unique(np.linspace(0, len(rows) - 1, min(asked, len(rows))).astype(np.int64)) if len(rows) else rows
    k = min(k, len(rows) - 1)
    if k < 1:
        return 0, 0
    tops = []
    for values in (left[rows], right[rows]):
        scores = values[places].astype(np.float64) @ values.astype(np.float64).T
        scores[np.arange(len(places)), places] = -np.inf  # a row is no neighbour of its own
        tops.append(np.argsort(-scores, axis=1, kind="stable")[:, :k])
    same = sum(len(np.intersect1d(one, other)) for one, other in zip(*tops, strict=True))
    return same, len(places) * k
