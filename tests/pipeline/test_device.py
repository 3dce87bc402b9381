"""The one device switch."""

import pytest

from pipeline import device
from stages.errors import ConfigError, ResourceError


def test_auto_is_the_processor_where_cuda_is_missing(monkeypatch):
    monkeypatch.setattr(device, "_without_cuda", lambda: "no NVIDIA driver on this machine")
    assert device.resolve("auto") == "cpu"
    with pytest.raises(ResourceError, match="cuda") as caught:
        device.resolve("cuda:1")
    assert "no NVIDIA driver" in str(caught.value)


def test_cuda_where_it_is_there(monkeypatch):
    monkeypatch.setattr(device, "_without_cuda", lambda: None)
    assert [device.resolve(d) for d in ("auto", "cuda", "cuda:1", "cpu")] == ["cuda", "cuda", "cuda:1", "cpu"]


def test_an_unknown_device_is_refused():
    with pytest.raises(ConfigError, match="tpu"):
        device.resolve("tpu")
