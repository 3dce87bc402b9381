import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.compiled.pairs import contenders, of_bfloat16, of_bytes, of_float32
from stages.errors import ArtefactError, ResourceError
from stages.indexes import _choose, _join, _kernels
from stages.indexes._kernels import Bf16, Dense, Int8, Kernel, Pairs, _down
from stages.indexes.exact import Exact
from stages.indexes.flat import Flat
from stages.search import certified_search
from tests.kernels import named, sound

pytestmark = pytest.mark.usefixtures("nothing_is_few")


@pytest.fixture(params=sound(24))
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    with named(request.param) as name:
        yield name


def unit(count: int, dimensions: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((count, dimensions))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


CORPUS, QUERIES = unit(6000, 24, 0), unit(40, 24, 1)


def same(left, right) -> bool:
    return np.array_equal(left.rows, right.rows) and left.scores.tobytes() == right.scores.tobytes()


def flat(corpus: np.ndarray, queries: np.ndarray, depth: int):
    return certified_search(Flat().build([corpus], *corpus.shape), queries, corpus, depth, True)


@pytest.mark.parametrize("depth", [1, 50, 3000])
def test_it_finds_what_float64_search_finds_before_and_after_saving(tmp_path: Path, kernel: str, depth: int) -> None:
    index = Exact(kernel=kernel, device="cpu")
    built = index.build([CORPUS[:700], CORPUS[700:]], 6000, 24)
    index.save(built, tmp_path / "corpus.npy")
    loaded = index.load(tmp_path / "corpus.npy", 6000, 24)
    expected = flat(CORPUS, QUERIES, depth)
    for searcher in (built, loaded):
        assert same(certified_search(searcher, QUERIES, CORPUS, depth, True), expected)
    scores, rows = loaded.search(QUERIES, depth)
    np.testing.assert_array_equal(rows, expected.rows)
    np.testing.assert_array_equal(scores, expected.scores.astype(np.float32))
    assert (scores.dtype, rows.dtype) == (np.float32, np.int64)


def test_the_saved_file_does_not_hang_on_what_is_speed_only(tmp_path: Path) -> None:
    for place, index in (("a", Exact(kernel="int8", memory=16)), ("b", Exact(kernel="fp32"))):
        index.save(index.build(np.split(CORPUS, [5, 900]), 6000, 24), tmp_path / place)
        assert index.semantic() == {"name": "exact"}
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    np.testing.assert_array_equal(np.load(tmp_path / "a"), CORPUS)


def test_the_vectors_are_written_once_and_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    built = Exact().build([CORPUS], 6000, 24)
    assert list(tmp_path.iterdir()) == []  # what a kill would leave
    inode = built.nameless and os.fstat(built.nameless.fileno()).st_ino
    for name in ("one", "two"):
        Exact().save(built, tmp_path / name)
        np.testing.assert_array_equal(np.load(tmp_path / name), CORPUS)
    if inode:
        assert (tmp_path / "one").stat().st_ino == inode != (tmp_path / "two").stat().st_ino
    assert (tmp_path / "one").stat().st_mode == (tmp_path / "two").stat().st_mode


@pytest.mark.parametrize("lacks", ["such files", "a way between file systems"])
def test_a_system_without_files_that_have_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacks: str) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError("not here")

    if lacks == "such files":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    else:
        monkeypatch.setattr(os, "link", refused)
    built = Exact().build([CORPUS], 6000, 24)
    Exact().save(built, tmp_path / "corpus.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "corpus.npy"), CORPUS)
    assert same(certified_search(built, QUERIES, CORPUS, 9, True), flat(CORPUS, QUERIES, 9))


def test_a_search_deeper_than_the_corpus_pads() -> None:
    scores, rows = Exact().build([CORPUS[:3]], 3, 24).search(CORPUS[:2], 5)
    assert rows[:, 0].tolist() == [0, 1]
    assert rows[:, 3:].tolist() == [[-1, -1]] * 2
    assert np.isneginf(scores[:, 3:]).all()


def test_blocks_and_memory_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch, kernel: str) -> None:
    expected = flat(CORPUS, QUERIES, 20)
    for queries, documents, memory in ((7, 1000, 16), (64, 333, 512), (1, 6000, 64)):
        monkeypatch.setitem(_kernels.PACK, "cpu", queries)
        monkeypatch.setattr(_join, "_DOCUMENTS", {"cpu": documents, "cuda": documents})
        searcher = Exact(kernel=kernel, device="cpu", memory=memory).build([CORPUS], 6000, 24)
        assert same(certified_search(searcher, QUERIES, CORPUS, 20, True), expected)


def test_equal_documents_without_number_split_the_work(monkeypatch: pytest.MonkeyPatch, kernel: str) -> None:
    corpus = np.concatenate([np.repeat(CORPUS[:1], 4500, axis=0), CORPUS[:1500]])
    monkeypatch.setattr(_join, "_PAIR", 1 << 16)  # so that few pairs fit
    searcher = Exact(kernel=kernel, device="cpu", memory=64).build([corpus], 6000, 24)
    queries = np.concatenate([CORPUS[:1], QUERIES[:30], np.zeros((1, 24), dtype=np.float32)])
    found = certified_search(searcher, queries, corpus, 9, True)
    assert same(found, flat(corpus, queries, 9))
    assert found.rows[0].tolist() == found.rows[-1].tolist() == list(range(9))


def test_lengths_of_all_sizes(kernel: str) -> None:
    random = np.random.default_rng(3)
    corpus = CORPUS * 10.0 ** random.uniform(-30, 15, (6000, 1)).astype(np.float32)
    queries = QUERIES * 10.0 ** random.uniform(-6, 0, (40, 1)).astype(np.float32)
    found = certified_search(Exact(kernel=kernel, device="cpu").build([corpus], 6000, 24), queries, corpus, 9, True)
    exact = queries.astype(np.float64) @ corpus.astype(np.float64).T
    best = -np.sort(-exact, axis=1)[:, :9]
    np.testing.assert_allclose(found.scores, best, rtol=1e-12, atol=1e-11)


def test_scores_that_are_equal_on_the_grid_are_ordered_by_row(kernel: str) -> None:
    """A query so short that documents which differ in their last bits score the same: found by 10,000 random examples."""
    values = np.random.default_rng(0).standard_normal((139, 1))
    corpus = (values[:1] + 1e-6 * values).astype(np.float32)
    queries = np.array([[-3.7347709e-06], [-1e-12], [1e-30]], dtype=np.float32)
    found = certified_search(Exact(kernel=kernel, device="cpu").build([corpus], 139, 1), queries, corpus, 5, True)
    assert same(found, flat(corpus, queries, 5))
    assert found.rows[0].tolist() == [12, 108, 138, 69, 9]


def test_a_foreign_corpus_is_noticed() -> None:
    searcher = Exact().build([CORPUS], 6000, 24)
    with pytest.raises(ArtefactError, match="not those of the stored vectors"):
        certified_search(searcher, QUERIES, CORPUS[::-1].copy(), 20, True)


def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "corpus.npy"
    Exact().save(Exact().build([CORPUS], 6000, 24), place)
    sound = place.read_bytes()
    with pytest.raises(ArtefactError, match=r"shape \(6000, 24\), expected 6000 vectors of 25"):
        Exact().load(place, 6000, 25)
    for damaged in (b"", sound[:40], sound[:-4], sound + b"x", sound.replace(b"<f4", b"<f8"), b"x" + sound[1:]):
        place.write_bytes(damaged)
        with pytest.raises(ArtefactError, match=r"corpus\.npy"):
            Exact().load(place, 6000, 24)
    with pytest.raises(ArtefactError, match="not there"):
        Exact().load(tmp_path / "none", 6000, 24)


class Saturating(Int8):
    """As a processor whose 8-bit products are added in 16 bits."""

    def scores(self, documents, pack):
        return super().scores(documents, pack).clamp(max=0.5)


class Missing(Bf16):
    """As a library whose private operator is gone."""

    def queries(self, values):
        raise AttributeError("_reorder_linear_weight")


class Forgetful(Dense):
    """Leaves out a pair."""

    def above(self, documents, queries, limit, span, wanted):
        for pack, pairs in super().above(documents, queries, limit, span, wanted):
            yield pack, Pairs(*(values[1:] for values in pairs))


@pytest.mark.parametrize("kernel", [Saturating(), Missing(), Forgetful()])
def test_a_kernel_that_is_wrong_here_is_never_used(monkeypatch: pytest.MonkeyPatch, kernel: Kernel) -> None:
    assert not _choose.passes(kernel, 24)
    _choose._measured.cache_clear()
    monkeypatch.setattr(_choose, "_kernels", lambda name, device: [kernel, Dense()])
    assert _choose.choose("auto", "cpu", 6000, 24) == Dense()
    _choose._measured.cache_clear()
    monkeypatch.setattr(_choose, "_kernels", lambda name, device: [kernel])
    with pytest.raises(ResourceError, match="does not give right results"):
        _choose.choose(kernel.name, "cpu", 6000, 24)
    _choose._measured.cache_clear()


@pytest.mark.parametrize("share", [0.0, 0.002, 0.3, 1.0])
@pytest.mark.parametrize(("rows", "columns"), [(1, 8), (3, 16), (7, 24), (513, 64), (300, 520), (2, 20_000)])
def test_pairs_of_products_that_are_not_zero(rows: int, columns: int, share: float) -> None:
    random = np.random.default_rng(rows)
    there = random.random((rows, columns)) < share
    there[-1, -1] = True
    codes = np.where(there, random.integers(1, 256, there.shape), 0).astype(np.uint8)
    low, high = np.sort(random.standard_normal((2, columns)).astype(np.float32), axis=0)
    row, column = np.nonzero(there)
    value = codes[there].astype(np.float32)
    half = np.float32(0.5)
    found = _kernels.Room().filled(codes.size, of_bytes, codes.reshape(-1), columns, half, low, high)
    np.testing.assert_array_equal(found.documents, row)
    np.testing.assert_array_equal(found.queries, column)
    np.testing.assert_array_equal(found.least, value * half + low[column])
    np.testing.assert_array_equal(found.most, np.where(value == 255, np.inf, value * half + high[column]))

    stored = np.where(there, (codes.astype(np.float32) / 7).view(np.uint32) >> 16, 0).astype(np.uint16)
    value = (stored[there].astype(np.uint32) << 16).view(np.float32)
    found = _kernels.Room().filled(stored.size, of_bfloat16, stored.reshape(-1), columns, low, high)
    np.testing.assert_array_equal(found.documents, row)
    np.testing.assert_array_equal(found.queries, column)
    np.testing.assert_array_equal(found.least, value * np.float32(1 - 2.0**-8) + low[column])
    np.testing.assert_array_equal(found.most, value * np.float32(1 + 2.0**-8) + high[column])

    scores = np.where(there, 3.0, -3.0).astype(np.float32)
    found = _kernels.Room().filled(scores.size, of_float32, scores, low / 9, high * high)
    np.testing.assert_array_equal(found.documents, row)
    np.testing.assert_array_equal(found.queries, column)
    np.testing.assert_allclose((found.least + found.most) / 2, 3.0, rtol=1e-6)
    np.testing.assert_allclose((found.most - found.least) / 2, (high * high)[column] + 3 * 2.0**-21, atol=1e-6)

    real = columns - 3  # the others are padding
    for values, fill, given in (
        (codes.reshape(-1), of_bytes, (columns, half)),
        (stored.reshape(-1), of_bfloat16, (columns,)),
        (scores, of_float32, ()),
    ):
        found = _kernels.Room().filled(values.size, fill, values, *given, (low / 9)[:real], (high * high)[:real])
        np.testing.assert_array_equal(found.documents, row[column < real])
        np.testing.assert_array_equal(found.queries, column[column < real])


@pytest.mark.parametrize("distinct", [2, 1000])
def test_contenders_are_those_that_can_be_among_the_best(distinct: int) -> None:
    random = np.random.default_rng(distinct)
    query = random.integers(0, 12, 700).astype(np.uint16)
    query[query == 5] = 6  # one without pairs
    least = random.integers(0, distinct, 700).astype(np.float32)
    most = least + random.integers(0, 3, 700).astype(np.float32)
    rows = np.arange(700, dtype=np.int32)
    for k in (1, 10, 64, 699):
        offsets, *columns = contenders(rows, query, least, most, np.full(12, 0.5), k)
        for q in range(12):
            own = np.flatnonzero(query == q)
            floor = np.sort(least[own])[-k] if len(own) >= k else -np.inf
            kept = own[most[own] >= floor - 0.5]
            found = [column[offsets[q] : offsets[q + 1]] for column in columns]
            for values, expected in zip(found, (kept, least[kept], most[kept], least[kept] >= floor), strict=True):
                np.testing.assert_array_equal(values, expected)


def test_rounding_down_to_bfloat16() -> None:
    values = np.array([1.001, -1.001, 0.0, -2.0, 3.9999], dtype=np.float32)
    rounded = _down(values)
    assert (rounded <= values).all()
    np.testing.assert_array_equal(torch.from_numpy(rounded).bfloat16().float().numpy(), rounded)
    np.testing.assert_allclose(rounded, values, rtol=2**-7)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_gpu_is_refused() -> None:
    with pytest.raises(ResourceError, match="CUDA"):
        Exact(device="cuda").build([CORPUS], 6000, 24)
