"""Between Arrow columns and numpy arrays without copies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from stages.schemas import vectors


def matrix(table: pa.Table) -> np.ndarray:
    """The column `vector` as float32 (n, d)."""
    column = table.column("vector")
    dimensions = column.type.list_size
    chunks = [chunk.flatten().to_numpy(zero_copy_only=True).reshape(-1, dimensions) for chunk in column.chunks]
    if not chunks:
        return np.empty((0, dimensions), dtype=np.float32)
    return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


def vector_table(rows: np.ndarray, values: np.ndarray) -> pa.Table:
    """A table of vectors from rows (n,) and values (n, d)."""
    flat = pa.array(np.ascontiguousarray(values, dtype=np.float32).reshape(-1))
    schema = vectors(values.shape[1])
    return pa.table(
        [pa.array(rows, pa.int32()), pa.FixedSizeListArray.from_arrays(flat, type=schema.field("vector").type)],
        schema=schema,
    )


def repeated(value: str | None, count: int) -> pa.DictionaryArray:
    """A dictionary column of `count` rows with one value, or with nulls."""
    if value is None:
        return pa.nulls(count, pa.dictionary(pa.int32(), pa.string()))
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, dtype=np.int32)), pa.array([value]))


def coded(codes: np.ndarray, values: Sequence[str]) -> pa.DictionaryArray:
    """A dictionary column from int codes (n,) into `values`."""
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(list(values), pa.string()))
