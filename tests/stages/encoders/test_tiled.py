"""The forward pass in tiles, where the processor has them, and the one in its place where not."""

from typing import Any

import numpy as np
import pytest
import torch

from stages import compiled
from stages.arrays import cosines
from stages.encoders import _packed, _tiled
from tests.models import tiny
from tests.stages.encoders.test_packed import expected, roberta, some

amx = pytest.mark.skipif(not _tiled.possible(64, 2, 64), reason="no processor with AMX and bf16")


@pytest.mark.parametrize(("width", "heads", "between"), [(96, 2, 64), (64, 4, 64), (100, 3, 64), (64, 1, 100)])
def test_widths_that_fill_no_tile_are_not_possible(width: int, heads: int, between: int) -> None:
    assert not _tiled.possible(width, heads, between)


def test_a_processor_without_an_instruction_or_a_torch_without_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(compiled, "TILES", frozenset({"+no-such-thing"}))
        assert not _tiled.possible(64, 2, 64)
    monkeypatch.delattr(torch.cpu, "_init_amx", raising=False)
    assert not _tiled.possible(64, 2, 64)


@amx
def test_both_passes_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = some(60, longest=200)
    tiled = tiny().load("cpu", "bf16")
    assert tiled.arithmetic == "tiles bf16 cpu"
    monkeypatch.setattr(_tiled, "possible", lambda *_: False)
    other = tiny().load("cpu", "bf16")
    assert other.arithmetic == "own bf16 cpu"
    exact = tiny().load("cpu", "fp32")
    assert exact.arithmetic == "own fp32 cpu"
    vectors = exact.encode(texts, "document")
    assert cosines(tiled.encode(texts, "document"), vectors).min() >= 0.9998
    assert cosines(other.encode(texts, "document"), vectors).min() >= 0.9998


@amx
@pytest.mark.parametrize("tokens", [32, 100, 5_000])
def test_frames_of_any_size_give_the_same_bits(tokens: int) -> None:
    texts = some(50, longest=120)
    loaded = tiny().load("cpu", "bf16")
    assert loaded.alone
    assert loaded.encode(texts, "document", batch_tokens=tokens).tobytes() == loaded.encode(texts, "document").tobytes()


@amx
@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("heads", [1, 2], ids=["heads of 64", "heads of 32"])
def test_positions_behind_the_padding_and_the_first_token(heads: int, pooling: str) -> None:
    model = roberta("XLMRobertaModel", hidden_size=64, num_attention_heads=heads)
    model[1].pooling_mode = pooling
    own, alone, note = _packed.build(model, "bf16", torch.device("cpu"), expected(model))
    assert own is not None, note
    assert own.tiled is not None
    assert alone
    ids = np.arange(10, 40, dtype=np.int64)
    near = cosines(own.frame([ids], 1024).numpy(), expected(model)(torch.from_numpy(ids[None])).numpy())
    assert near.min() >= 0.9998


@amx
@pytest.mark.parametrize("ids", [np.array([5, 100]), np.arange(10, 89)], ids=["token", "place"])
def test_what_no_table_holds_is_refused(ids: Any) -> None:
    model = roberta("RobertaModel", hidden_size=64, num_attention_heads=1)
    own, _, _ = _packed.build(model, "bf16", torch.device("cpu"), expected(model))
    assert own is not None
    with pytest.raises(IndexError, match="embeddings"):
        own.frame([ids], 1024)
