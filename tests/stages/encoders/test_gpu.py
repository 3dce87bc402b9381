"""The own forward pass on a GPU. Needs no data but a model: `python -m pytest -m gpu tests/stages/encoders/test_gpu.py`."""

from typing import Any

import numpy as np
import pytest
import torch

from stages.arrays import cosines
from stages.errors import ResourceError
from tests.models import tiny

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

WORDS = ("fever", "cough", "acute", "chronic", "lobar", "pneumonia", "fracture", "of the", "left", "femur", "healing")


def some(count: int, longest: int = 60, seed: int = 0) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, draw.integers(1, longest))) + f" {i}" for i in range(count)]


@pytest.mark.parametrize(("precision", "least"), [("fp32", 1 - 1e-5), ("bf16", 0.9995)])
@pytest.mark.parametrize("batch_tokens", [200, 65_536])
def test_vectors_are_those_of_a_processor(precision: str, least: float, batch_tokens: int) -> None:
    texts = some(300)
    loaded = tiny(query_prompt="find: ").load("cuda", precision)
    assert loaded.own is not None, loaded.notes
    here = tiny(query_prompt="find: ").load("cpu", "fp32")
    for role, prompts in (("document", None), ("query", ["", None, "other: "] * 100)):
        there = loaded.encode(texts, role, prompts, batch_tokens=batch_tokens)
        assert there.dtype == np.float32
        assert cosines(there, here.encode(texts, role, prompts)).min() >= least
    assert loaded.counts["halved"] == 0


def test_texts_of_one_length_need_no_mask() -> None:
    loaded, here = (tiny().load(device, "fp32") for device in ("cuda", "cpu"))
    texts = ["fever and cough", "cough and fever", "acute left femur"]
    assert cosines(loaded.encode(texts, "document"), here.encode(texts, "document")).min() >= 1 - 1e-5


def test_nothing_in_the_loop_waits_for_the_device() -> None:
    loaded = tiny().load("cuda", "bf16")
    prepared = loaded.prepare(some(400), "document")
    loaded.embed(prepared, batch_tokens=2_000)  # what is allocated or compiled the first time may wait
    feed: Any = _feed(loaded, prepared)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        values = loaded._in_batches(prepared, feed, 2_000, None)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(values).all()


def test_the_loop_is_ahead_of_the_device() -> None:
    """Behind a device that is busy, the loop ends before the device begins: nothing waited, and copies were let go."""
    loaded = tiny().load("cuda", "bf16")
    prepared = loaded.prepare(some(400), "document")
    expected = loaded.embed(prepared, batch_tokens=2_000)
    feed: Any = _feed(loaded, prepared)
    torch.cuda.synchronize()
    torch.cuda._sleep(2_000_000_000)  # about a second of cycles
    busy = torch.cuda.Event()
    busy.record()
    values = loaded._in_batches(prepared, feed, 2_000, None)
    assert not busy.query()
    found = values.cpu().numpy()[prepared.inverse]
    assert cosines(found, expected).min() >= 0.9999


def test_a_batch_that_does_not_fit_is_halved() -> None:
    texts = some(6_000, 120)
    loaded = tiny().load("cuda", "fp32")
    expected = loaded.encode(texts, "document", batch_tokens=8_000)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 192 * 2**20) / total)
    messages: list[str] = []
    try:
        found = loaded.encode(texts, "document", batch_tokens=10_000_000, log=messages.append)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert loaded.counts["halved"] == len(messages) > 0
    assert "out of memory with" in messages[0]
    assert cosines(found, expected).min() >= 1 - 1e-5


def test_the_text_that_does_not_fit_alone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny().load("cuda", "fp32")

    def never(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(loaded.own, "block", never)
    with pytest.raises(ResourceError, match="one text alone") as error:
        loaded.encode(["Typhoid fever", "fever"], "document")
    assert "fever" in str(error.value)
    assert loaded.counts["halved"] == 1


def test_memory_does_not_grow_with_the_texts() -> None:
    loaded = tiny().load("cuda", "bf16")
    peaks = []
    for count in (1_000, 8_000):
        torch.cuda.reset_peak_memory_stats()
        loaded.encode(some(count), "document", batch_tokens=20_000)
        peaks.append(torch.cuda.max_memory_allocated())
    vectors = 8_000 * 128 * 4
    assert peaks[1] - peaks[0] <= 2 * vectors


def _feed(loaded: Any, prepared: Any) -> Any:
    from stages.encoders._feed import Feed

    return Feed(loaded.own, prepared, loaded.device)
