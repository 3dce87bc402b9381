"""Float32 whose products keep all of its 24 bits, on a GPU too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def whole_float32() -> Iterator[None]:
    """Neither TF32, which keeps 10 bits of a factor and which PyTorch allows convolutions by itself, nor sums in bf16."""
    from torch.backends import cuda, cudnn

    before = cuda.matmul.allow_tf32, cuda.matmul.allow_bf16_reduced_precision_reduction, cudnn.allow_tf32
    cuda.matmul.allow_tf32 = cuda.matmul.allow_bf16_reduced_precision_reduction = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        cuda.matmul.allow_tf32, cuda.matmul.allow_bf16_reduced_precision_reduction, cudnn.allow_tf32 = before
