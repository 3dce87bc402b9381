"""The exact join on a GPU gives what it gives on a processor, to the bit. Under a minute in all; needs no file and no network."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from stages.indexes import _choose, _join, _kernels
from stages.indexes.exact import Exact
from stages.search import Hits, certified_search

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
KERNELS = ["auto", "bf16", "fp32"]


def vectors(kind: str, count: int, dimensions: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = random.standard_normal((count, dimensions))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    if kind == "grid":
        values = random.integers(-1, 2, (count, dimensions))
    if kind == "duplicates":
        values = values[random.integers(0, max(1, count // 20), count)]
    if kind == "lengths":
        values *= 10.0 ** random.uniform(-5, 4, (count, 1))
    if kind == "negative":
        values = -np.abs(values)
    if kind == "close":
        values = values[:1] + 1e-6 * values
    return values.astype(np.float32)


def search(device: str, kernel: str, corpus: np.ndarray, queries: np.ndarray, depth: int) -> Hits:
    searcher = Exact(kernel=kernel, device=device).build([corpus], *corpus.shape)
    return certified_search(searcher, queries, corpus, depth, True)


def same(left: Hits, right: Hits) -> bool:
    return np.array_equal(left.rows, right.rows) and left.scores.tobytes() == right.scores.tobytes()


@pytest.fixture(params=[False, True])
def tf32(request: pytest.FixtureRequest) -> Iterator[None]:
    """With and without permission to multiply float32 with 10 bits of significand."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = request.param
    _choose._measured.cache_clear()
    yield
    torch.backends.cuda.matmul.allow_tf32 = before
    _choose._measured.cache_clear()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", ["unit", "grid", "duplicates", "lengths", "negative", "close"])
def test_a_gpu_gives_the_same_result(kind: str, kernel: str) -> None:
    corpus, queries = vectors(kind, 6000, 24, 0), vectors("unit", 40, 24, 1)
    for depth in (1, 50, 3000):
        assert same(search("cuda", kernel, corpus, queries, depth), search("cpu", "auto", corpus, queries, depth))


@pytest.mark.parametrize("kernel", ["bf16", "fp32"])
def test_shortened_products_are_never_used(tf32: None, kernel: str) -> None:
    allowed = torch.backends.cuda.matmul.allow_tf32
    corpus, queries = vectors("unit", 20_000, 384, 0), vectors("unit", 200, 384, 1)
    assert same(search("cuda", kernel, corpus, queries, 100), search("cpu", "auto", corpus, queries, 100))
    assert torch.backends.cuda.matmul.allow_tf32 == allowed


@pytest.mark.parametrize("kernel", ["bf16", "fp32"])
def test_a_kernel_leaves_no_pair_out_and_keeps_its_bounds(kernel: str) -> None:
    for dimensions in (1, 3, 8, 17, 64, 384, 1024):
        assert all(_choose.passes(each, dimensions) for each in _choose._kernels(kernel, "cuda"))


@pytest.mark.parametrize("kernel", ["bf16", "fp32"])
def test_blocks_and_memory_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch, kernel: str) -> None:
    corpus, queries = vectors("duplicates", 6000, 24, 0), vectors("unit", 60, 24, 1)
    expected = search("cpu", "auto", corpus, queries, 20)
    for pack, documents, keeps in ((7, 1000, True), (64, 333, False), (1, 6000, True)):
        monkeypatch.setitem(_kernels.PACK, "cuda", pack)
        monkeypatch.setitem(_join._DOCUMENTS, "cuda", documents)
        monkeypatch.setattr(_join.Join, "_keeps", keeps)
        assert same(search("cuda", kernel, corpus, queries, 20), expected)


def test_more_than_a_block_of_either_side_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, queries = vectors("unit", 40_000, 64, 0), vectors("unit", 9_000, 64, 1)
    expected = search("cpu", "auto", corpus, queries, 10)
    monkeypatch.setattr(_join.Join, "_keeps", False)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    assert same(search("cuda", "fp32", corpus, queries, 10), expected)
    # Float32 scores, the mask of them and the vectors of a block: what a search takes does not grow with the corpus.
    block = _kernels.PACK["cuda"] * _join._DOCUMENTS["cuda"]
    assert torch.cuda.max_memory_allocated() < 4 * (5 * block + 4 * 64 * (_kernels.PACK["cuda"] + 2 * 16_384))


def test_equal_documents_without_number_split_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    one = vectors("unit", 6000, 24, 0)
    corpus = np.concatenate([np.repeat(one[:1], 4500, axis=0), one[:1500]])
    queries = np.concatenate([one[:1], vectors("unit", 30, 24, 1), np.zeros((1, 24), dtype=np.float32)])
    expected = search("cpu", "auto", corpus, queries, 9)
    monkeypatch.setattr(_join, "_PAIR", 1 << 16)  # so that few pairs fit
    found = search("cuda", "auto", corpus, queries, 9)
    assert same(found, expected)
    assert found.rows[0].tolist() == found.rows[-1].tolist() == list(range(9))
