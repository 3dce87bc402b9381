"""Settings of PyTorch are as wanted inside and as before outside, whatever happens."""

import pytest
import torch

from stages.float32 import whole_float32


def settings() -> tuple[bool, ...]:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    return matmul.allow_tf32, matmul.allow_bf16_reduced_precision_reduction, cudnn.allow_tf32


def test_shortened_products_are_off_inside_and_as_before_outside() -> None:
    before = settings()
    assert any(before)
    with whole_float32():
        assert not any(settings())
    assert settings() == before
    with pytest.raises(RuntimeError), whole_float32():
        raise RuntimeError
    assert settings() == before
