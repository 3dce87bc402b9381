from pathlib import Path

import faiss
import numpy as np
import pytest

from stages.errors import ConfigError
from stages.indexes.factory import Factory

CORPUS = np.random.default_rng(0).standard_normal((3000, 16)).astype(np.float32)
QUERIES = np.random.default_rng(1).standard_normal((50, 16)).astype(np.float32)
EXACT = np.argsort(-(QUERIES @ CORPUS.T), axis=1)[:, :10]
KINDS = ["IVF16,Flat", "HNSW16", "IVF8,PQ8x4fs,RFlat", "PQ8x4fs,RFlat", "OPQ8,IVF8,PQ8x4fs", "PCA8,IVF8,SQ8", "PQ4"]


class Blocks:
    def __iter__(self):
        return iter(np.split(CORPUS, range(700, 3000, 700)))


def share(rows: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows.tolist(), EXACT.tolist(), strict=True)]))


@pytest.mark.parametrize("factory", KINDS)
def test_the_same_vectors_give_the_same_index_in_any_number_of_threads(tmp_path: Path, factory: str) -> None:
    before = faiss.omp_get_max_threads()
    try:
        for threads in (1, 2):
            faiss.omp_set_num_threads(threads)
            kind = Factory(factory=factory, train_rows=2000)
            kind.save(kind.build(Blocks(), 3000, 16), tmp_path / f"{threads}.faiss")
            assert faiss.omp_get_max_threads() == threads
    finally:
        faiss.omp_set_num_threads(before)
    assert (tmp_path / "1.faiss").read_bytes() == (tmp_path / "2.faiss").read_bytes()
    loaded = Factory(factory=factory).load(tmp_path / "1.faiss", 3000, 16)
    assert share(loaded.search(QUERIES, 10)[1]) > 0.1


@pytest.mark.parametrize(
    ("factory", "field", "low", "high"),
    [("IVF16,Flat", "nprobe", 1, 16), ("HNSW16", "ef_search", 10, 500), ("PQ8x4fs,RFlat", "refine_factor", 1, 40)],
)
def test_search_parameters_are_saved_with_the_index(
    tmp_path: Path, factory: str, field: str, low: int, high: int
) -> None:
    found = []
    for value in (low, high):
        kind = Factory(factory=factory, **{field: value})
        kind.save(kind.build(Blocks(), 3000, 16), tmp_path / "corpus.faiss")
        found.append(share(Factory(factory=factory).load(tmp_path / "corpus.faiss", 3000, 16).search(QUERIES, 10)[1]))
    assert found[0] < found[1]
    assert found[1] > 0.95


@pytest.mark.parametrize("factory", ["IVF16,Flat", "PQ8x4fs,RFlat", "IVF8,PQ8x4fs,RFlat"])
def test_the_seed_decides_the_training(tmp_path: Path, factory: str) -> None:
    saved = set()
    for seed in (0, 0, 1):
        kind = Factory(factory=factory, train_rows=1000, seed=seed)
        kind.save(kind.build(Blocks(), 3000, 16), tmp_path / "corpus.faiss")
        saved.add((tmp_path / "corpus.faiss").read_bytes())
    assert len(saved) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"factory": "NOPE"},
        {"factory": "IVF4096,Flat"},
        {"factory": "PQ5"},
        {"factory": "HNSW16", "nprobe": 4},
        {"factory": "PQ4", "refine_factor": 2},
    ],
)
def test_what_faiss_refuses_is_a_fault_of_the_configuration(fields: dict) -> None:
    with pytest.raises(ConfigError) as error:
        Factory(**fields).build(Blocks(), 3000, 16)
    assert fields["factory"] in str(error.value)
