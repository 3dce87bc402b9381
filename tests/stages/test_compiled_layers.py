"""Layers in tiles against torch in float64."""

import math
import os
import subprocess
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stages.compiled.instructions import whole_tiles
from stages.encoders import _tiled

HERE = _tiled.possible(64, 2, 64)
TILES = whole_tiles()
LOG2_E = math.log2(math.e)

amx = pytest.mark.skipif(not HERE, reason="no processor with AMX and bf16")
if HERE:
    from stages.compiled import layers


@pytest.mark.parametrize("loops", ["layers", "tiles"])
def test_a_processor_without_tiles_is_told_and_not_compiled_for(loops: str) -> None:
    asked = f"import stages.compiled.{loops}"
    other = {**os.environ, "NUMBA_CPU_NAME": "generic"}
    found = subprocess.run([sys.executable, "-c", asked], env=other, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "ImportError: the processor has no AMX" in found.stderr


class Array(NamedTuple):
    """An array (rows, d) in bf16, and how it lies in memory."""

    plain: torch.Tensor  # float64 (rows, d), values that bf16 has
    bits: np.ndarray


def array(rows: int, d: int, seed: int = 0, scale: float = 1.0) -> Array:
    values = (torch.randn(rows, d, generator=torch.Generator().manual_seed(seed)) * scale).bfloat16()
    lying = values.view(rows, d // 32, 32).transpose(0, 1).contiguous()
    return Array(values.double(), lying.view(torch.uint16).numpy().reshape(-1))


def plain(bits: np.ndarray, rows: int) -> torch.Tensor:
    """float64 (rows, d) of what a loop has written."""
    return torch.from_numpy(bits).view(torch.bfloat16).view(-1, rows, 32).transpose(0, 1).reshape(rows, -1).double()


def off(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


@amx
@pytest.mark.parametrize("raised", [False, True])
@pytest.mark.parametrize(
    ("rows", "count", "k", "n"), [(32, 32, 32, 32), (96, 64, 64, 96), (64, 64, 544, 64), (128, 96, 1536, 384)]
)
def test_a_product(rows: int, count: int, k: int, n: int, raised: bool) -> None:
    values, random = array(rows, k), torch.Generator().manual_seed(1)
    weight = (torch.randn(n, k, generator=random) / k**0.5).bfloat16()
    bias = torch.randn(n, generator=random)
    tiles = _tiled.weights(weight).view(torch.uint16).numpy()
    exact = F.linear(values.plain, weight.double(), bias.double())
    exact = F.gelu(exact) if raised else exact
    out = np.zeros(rows * n, np.uint16)
    layers.product(values.bits, rows, count, tiles, bias.numpy(), k, raised, TILES, out, rows)
    assert off(plain(out, rows)[:count], exact[:count]) < 2e-3
    assert not plain(out, rows)[count:].any()

    later = np.zeros(rows * n, np.uint16)  # the last rows alone, to another place
    layers.product(values.bits[32 * (count - 32) :], rows, 32, tiles, bias.numpy(), k, raised, TILES, later, rows)
    assert torch.equal(plain(later, rows)[:32], plain(out, rows)[count - 32 : count])


@amx
def test_gelu_of_every_bf16_value() -> None:
    every = torch.arange(1 << 16, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    x = every[every.isfinite() & (every.abs() < 1e30) & ((every == 0) | (every.abs() > 1e-30))]
    x = F.pad(x, (0, -len(x) % 1024)).view(-1, 32)
    rows = len(x)
    bits = x.contiguous().view(torch.uint16).numpy().reshape(-1)
    out = np.empty_like(bits)
    one = _tiled.weights(torch.eye(32)).view(torch.uint16).numpy()
    layers.product(bits, rows, rows, one, np.zeros(32, np.float32), 32, True, TILES, out, rows)
    exact = F.gelu(x.double())
    assert ((plain(out, rows) - exact).abs() <= 5e-5 + exact.abs() * 2.0**-8).all()


def attended(qkv: Array, widths: np.ndarray, heads: int, depth: int, before: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Attention of texts that lie behind `before` rows, and where they begin."""
    rows, starts = len(qkv.plain), before + np.cumsum(widths) - widths
    out = np.full(rows * heads * depth * 32, 0x7FC0, np.uint16)  # NaN
    scale = np.float32(LOG2_E / math.sqrt(32 * depth))
    layers.attention(qkv.bits, rows, starts, widths, heads, depth, scale, TILES, out)
    return out, starts


def exact_attention(qkv: torch.Tensor, heads: int) -> torch.Tensor:
    queries, keys, values = qkv.view(len(qkv), 3, heads, -1).permute(1, 2, 0, 3)
    return F.scaled_dot_product_attention(queries, keys, values).transpose(0, 1).reshape(len(qkv), -1)


WIDTHS = np.array([1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 130, 300])


@amx
@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0, 20.0, 100.0], ids=lambda scale: f"values of {scale}")
@pytest.mark.parametrize(("heads", "depth"), [(1, 1), (3, 1), (2, 2)])
def test_attention_of_texts_of_any_width_and_scores_of_any_size(heads: int, depth: int, scale: float) -> None:
    widths = np.random.default_rng(heads).permutation(WIDTHS)
    total = int(widths.sum())
    rows = total + -total % 32 + 32
    qkv = array(rows, 3 * heads * depth * 32, seed=depth, scale=scale)
    out, starts = attended(qkv, widths, heads, depth)
    found = plain(out, rows)
    for start, width in zip(starts, widths, strict=True):
        exact = exact_attention(qkv.plain[start : start + width], heads)
        assert off(found[start : start + width], exact) < 4e-3
    assert not found[total:].any()


@amx
def test_scores_that_leave_the_range_of_float32_only_in_some_rows() -> None:
    qkv = array(128, 96, seed=5)
    for row, by in ((3, 400.0), (40, -400.0), (90, 3000.0)):
        qkv.plain[row, :32] *= by
    again = qkv.plain.bfloat16()
    lying = again.view(128, 3, 32).transpose(0, 1).contiguous().view(torch.uint16).numpy().reshape(-1)
    out, _ = attended(Array(again.double(), lying), np.array([100]), 1, 1)
    exact = exact_attention(again.double()[:100], 1)
    assert ((plain(out, 128)[:100] - exact).norm(dim=1) <= 6e-3 * exact.norm(dim=1)).all()


@amx
def test_a_text_s_attention_hangs_on_the_text_alone() -> None:
    """Neither on where it lies, nor on what is NaN or infinite beside it."""
    text = array(64, 192, seed=3)
    alone, _ = attended(text, np.array([45]), 2, 1)
    wide = torch.full((256, 192), math.nan, dtype=torch.bfloat16)
    wide[::2] = math.inf
    wide[37:82] = text.plain[:45].bfloat16()
    lying = wide.view(256, 6, 32).transpose(0, 1).contiguous().view(torch.uint16).numpy().reshape(-1)
    among, _ = attended(Array(wide.double(), lying), np.array([37, 45, 130]), 2, 1)
    assert torch.equal(plain(among, 256)[37:82], plain(alone, 64)[:45])


@amx
@pytest.mark.parametrize("shift", [0.0, 50.0])
@pytest.mark.parametrize("d", [32, 96, 384, 768])
def test_sums_are_normalised(d: int, shift: float) -> None:
    rows, random = 64, torch.Generator().manual_seed(d)
    hidden, added = array(rows, d, 1, 3.0), array(rows, d, 2)
    weight, bias = torch.randn(d, generator=random), torch.randn(d, generator=random)
    moved = (added.plain + shift).bfloat16()
    bits = moved.view(rows, d // 32, 32).transpose(0, 1).contiguous().view(torch.uint16).numpy().reshape(-1)
    exact = F.layer_norm(hidden.plain + moved.double(), (d,), weight.double(), bias.double(), 1e-12)
    out = hidden.bits.copy()
    layers.add_normalised(out, rows, bits, weight.numpy(), bias.numpy(), np.float32(1e-12))
    assert off(plain(out, rows), exact) < 2e-3


@amx
def test_embeddings_and_means() -> None:
    d, rows, random = 96, 64, np.random.default_rng(0)
    words, positions = (torch.from_numpy(random.standard_normal((n, d))).bfloat16() for n in (50, 70))
    ids, places = random.integers(0, 50, rows), random.integers(0, 70, rows)
    weight, bias = (random.standard_normal(d).astype(np.float32) for _ in range(2))
    out = np.empty(rows * d, np.uint16)
    tables: list[Any] = [table.view(torch.uint16).numpy().reshape(-1) for table in (words, positions)]
    layers.embeddings(tables[0], ids, tables[1], places, weight, bias, np.float32(1e-5), out)
    summed = words.double()[ids] + positions.double()[places]
    exact = F.layer_norm(summed, (d,), torch.from_numpy(weight).double(), torch.from_numpy(bias).double(), 1e-5)
    hidden = plain(out, rows)
    assert off(hidden, exact) < 2e-3

    starts, widths = np.array([0, 5, 6]), np.array([5, 1, 40])
    pooled = torch.empty((3, d))
    layers.means(out, rows, starts, widths, pooled.numpy())
    expected = torch.stack([hidden[s : s + w].mean(0) for s, w in zip(starts, widths, strict=True)])
    torch.testing.assert_close(pooled.double(), expected, atol=1e-6, rtol=1e-6)
