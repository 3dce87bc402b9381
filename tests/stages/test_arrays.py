import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.arrays import cosines, decoded, matrix, same_top, vector_table
from stages.schemas import STORAGE
from stages.search import gather, load_vectors
from tests.support import source


@pytest.mark.parametrize("storage", list(STORAGE))
def test_vectors_come_back_from_parquet_however_they_are_stored(storage: str, tmp_path) -> None:
    values = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    table = vector_table(np.arange(50), values, storage)
    pq.write_table(table, tmp_path / "x.parquet")
    read = pq.read_table(tmp_path / "x.parquet")
    step = {"float32": 0.0, "float16": 2e-3, "int8": np.abs(values).max() / 250}[storage]
    assert matrix(read).dtype == np.float32
    assert np.abs(matrix(read) - values).max() <= step
    parts = source(read.slice(0, 13), read.slice(13))
    assert np.array_equal(load_vectors(parts), matrix(read))
    (some,) = gather(parts, [np.array([3, 20, 49])])
    assert np.array_equal(some, matrix(read)[[3, 20, 49]])
    assert np.array_equal(decoded(read.slice(5, 4).to_batches()[0]), matrix(read)[5:9])
    assert matrix(pa.table(read.slice(0, 0))).shape == (0, 7)


def test_int8_uses_all_its_steps_in_every_row() -> None:
    values = np.array([[1e-6, -3e-6], [50.0, 25.0]], dtype=np.float32)
    stored = vector_table(np.arange(2), values, "int8")
    assert stored["vector"].to_pylist() == [[42, -127], [127, 64]]
    np.testing.assert_allclose(matrix(stored), values, rtol=0.01)


def test_same_top_counts_equal_neighbours() -> None:
    values = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    assert same_top(values, values) == (320, 320)
    same, asked = same_top(values, np.random.default_rng(1).normal(size=(40, 5)).astype(np.float32))
    assert asked == 320
    assert same < 160
    assert same_top(values[:1], values[:1]) == same_top(values[:0], values[:0]) == (0, 0)
    np.testing.assert_allclose(cosines(values, 2 * values), 1)
