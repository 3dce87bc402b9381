import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
import torch

from stages import compiled, scoring
from stages.compiled import instructions
from stages.compiled.codes import to_bfloat16, to_bytes
from stages.indexes._kernels import bound
from stages.indexes._tiles import Tiles
from stages.scoring import flat, score_pairs

DIMENSIONS = (1, 7, 31, 32, 33, 64, 100, 384)


def summed(left: np.ndarray, right: np.ndarray) -> float:
    """An inner product in the order that is promised, in Python's own floats."""
    sums = [0.0] * 32
    for t, (one, other) in enumerate(zip(left.tolist(), right.tolist(), strict=True)):
        sums[t % 32] += one * other
    while len(sums) > 1:
        half = len(sums) // 2
        sums = [a + b for a, b in zip(sums[:half], sums[half:], strict=True)]
    return float(np.rint(sums[0] * 2.0**40) * 2.0**-40)


@pytest.mark.parametrize("few", [0, 1 << 26], ids=["compiled", "numpy"])
@pytest.mark.parametrize("d", DIMENSIONS)
def test_scores_are_summed_in_one_order_on_every_processor(d: int, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_FEW", few)
    random = np.random.default_rng(d)
    left, right = (random.standard_normal((20, d)).astype(np.float32) for _ in range(2))
    every = np.arange(20)
    assert score_pairs(left, right, every, every).tolist() == [summed(a, b) for a, b in zip(left, right, strict=True)]


@pytest.mark.parametrize("few", [0, 1 << 26], ids=["compiled", "numpy"])
def test_vectors_in_any_memory_are_scored(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_FEW", few)
    wide = np.random.default_rng(0).standard_normal((30, 24)).astype(np.float32)
    i = np.arange(30)
    expected = score_pairs(wide[:, ::2].copy(), wide[:, 1::2].copy(), i, i)
    assert score_pairs(wide[:, ::2], wide[:, 1::2], i.astype(np.int32), i[::-1][::-1]).tobytes() == expected.tobytes()
    unaligned = np.frombuffer(b"x" + wide.tobytes(), dtype=np.uint8)[1:].view(np.float32).reshape(wide.shape)
    assert not unaligned.flags.writeable
    assert score_pairs(unaligned, unaligned, i, i).tobytes() == score_pairs(wide, wide, i, i).tobytes()


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1.0, 1e18])
@pytest.mark.parametrize("d", DIMENSIONS)
def test_codes_lie_within_the_errors_that_are_told(d: int, scale: float) -> None:
    values = (np.random.default_rng(d).standard_normal((50, d)) * scale).astype(np.float32)
    exact = values.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1).max()

    bits = np.empty(values.shape, np.uint16)
    length, error = to_bfloat16(flat(values), bits)
    rounded = torch.from_numpy(values).bfloat16()
    assert torch.equal(torch.from_numpy(bits).view(torch.bfloat16), rounded)
    off = np.linalg.norm(exact - rounded.double().numpy(), axis=1).max()
    assert lengths <= length <= lengths * (1 + 1e-9)
    assert off <= error <= off * (1 + 1e-9)

    codes = np.empty(values.shape, np.uint8)
    step, length, error = to_bytes(flat(values), codes)
    assert codes.min() >= 1
    off = np.linalg.norm(exact - (codes.astype(np.float64) - 128) * step, axis=1).max()
    assert off <= step / 2 * d**0.5 * 1.0001
    assert lengths <= length <= lengths * (1 + 1e-9)
    assert off <= error <= off * (1 + 1e-9)


def test_codes_of_nothing_but_zeros() -> None:
    codes = np.empty((3, 5), np.uint8)
    assert to_bytes(np.zeros((3, 5), np.float32), codes) == (1.0, 0.0, 0.0)
    assert (codes == 128).all()


def test_without_a_place_for_what_is_compiled_it_is_compiled_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(function):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(compiled, "_Cache", nowhere)
    double = compiled.compiled(numba.int64(numba.int64))(lambda value: 2 * value)
    assert double(21) == 42


def test_what_is_kept_is_compiled_anew_when_any_loop_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def double(value):
        return 2 * value

    def kept(sources: str) -> bool:
        monkeypatch.setattr(compiled, "_sources", lambda: sources)
        machine = compiled.compiled(numba.int64(numba.int64))(double)
        assert machine(21) == 42
        return bool(machine.stats.cache_hits)

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert [kept(sources) for sources in ("some", "some", "others", "some")] == [False, True, False, True]


def test_what_is_kept_and_damaged_is_compiled_anew(tmp_path: Path) -> None:
    asked = "import stages.compiled.codes as c, numpy as n; v = n.ones((2, 3), n.float32); print(c.to_bfloat16(v, n.empty((2, 3), n.uint16)))"

    def run() -> str:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        return subprocess.run(
            [sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True
        ).stdout

    first, kept = run(), [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in kept} == {".nbc", ".nbi"}
    for path in kept:
        path.write_bytes(path.read_bytes()[: 100 if path.suffix == ".nbc" else 10])
    assert run() == first


@pytest.mark.skipif(not instructions.available(), reason="no AMX")
@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 1), (32, 32, 32), (33, 40, 50), (600, 7, 384), (1030, 70, 96)])
def test_tiles_find_the_pairs_above_a_limit_in_the_order_of_documents(n: int, m: int, d: int) -> None:
    random = np.random.default_rng(n)
    documents, queries = (random.standard_normal((count, d)).astype(np.float32) for count in (n, m))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    kernel = Tiles()
    held, asked = kernel.documents(documents), kernel.queries(queries)
    exact = (torch.from_numpy(documents).bfloat16().double() @ torch.from_numpy(queries).bfloat16().double().T).numpy()
    np.testing.assert_allclose(kernel.scores(held, asked.packs[0])[:, :m].numpy(), exact, rtol=1e-4, atol=1e-5)
    limit = np.quantile(exact, 0.6, axis=0) + 1e-4  # so that rounding decides about none
    off = bound(held, asked, 64 * -(-d // 32) + 16)
    ((_, pairs),) = kernel.above(held, asked, limit + off, np.zeros(1), [0])
    assert {*zip(pairs.documents.tolist(), pairs.queries.tolist(), strict=True)} == set(
        map(tuple, np.argwhere(exact > limit).tolist())
    )
    of_query = [pairs.documents[pairs.queries == query].tolist() for query in range(m)]
    assert of_query == [sorted(rows) for rows in of_query]
    found = exact[pairs.documents, pairs.queries]
    assert (pairs.least < found).all()
    assert (found < pairs.most).all()
