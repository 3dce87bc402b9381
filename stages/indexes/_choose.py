"""Which kernel: those that pass a test against float64 on this machine, and of them the fastest by one measurement."""

from __future__ import annotations

import time
from functools import cache

import numpy as np

from stages.errors import ResourceError
from stages.indexes._kernels import Bf16, Dense, Int8, Kernel, bound

_SLACK = {"int8": 1.3}
"""What a kernel must be faster by to be worth its wider bound, which leaves more pairs to be scored in float64."""


@cache
def choose(name: str, device: str, dimensions: int) -> Kernel:
    """The fastest sound kernel of a name, or of all for auto. Raises ResourceError when there is none."""
    sound = [kernel for kernel in _kernels(name, device) if passes(kernel, dimensions)]
    if not sound:
        raise ResourceError(
            f"the kernel {name} does not give right results here",
            where="kernel",
            got=f"vectors of {dimensions} values, device {device}",
            try_='kernel = "auto"',
        )
    return sound[0] if len(sound) == 1 else min(sound, key=lambda kernel: _seconds(kernel, dimensions))


def _kernels(name: str, device: str) -> list[Kernel]:
    if device == "cpu":
        all_: list[Kernel] = [Bf16(), Int8(), Dense(), Dense(blas="numpy")]
    else:
        all_ = [Dense("bfloat16", device), Dense("float32", device)]
    return [kernel for kernel in all_ if name in ("auto", kernel.name)]


def passes(kernel: Kernel, dimensions: int) -> bool:
    """Whether scores are within their bound and no pair above a limit is left out, on vectors with extreme values too.

    A processor whose 8-bit sums saturate, or a library whose private operator changed, fails here.
    """
    try:
        return all(_sound(kernel, *_vectors(kind, dimensions)) for kind in range(3))
    except (RuntimeError, AttributeError, NotImplementedError, TypeError):
        return False


def _vectors(kind: int, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """Documents (300, d) and queries (37, d) of length 1: random, all values at the extremes, or few large ones."""
    random = np.random.default_rng(kind)
    both = random.standard_normal((337, dimensions))
    if kind == 1:
        both = np.where(both < 0, -1.0, 1.0) * np.where(np.arange(337) % 3, 1.0, 0.5)[:, None]
        both[::5] = np.abs(both[::5])
    if kind == 2:
        both *= 10.0 ** random.integers(-6, 2, both.shape)
    queries = both[300:] / np.linalg.norm(both[300:], axis=1, keepdims=True)
    return both[:300].astype(np.float32), queries.astype(np.float32)


def _sound(kernel: Kernel, documents: np.ndarray, queries: np.ndarray) -> bool:
    exact = documents.astype(np.float64) @ queries.astype(np.float64).T
    left, right = kernel.documents(documents), kernel.queries(queries)
    off = bound(left, right, 2 * documents.shape[1] + 16) + 2.0**-8 * left.length  # and what storing it rounds
    rough = kernel.scores(left, right).float().cpu().numpy()[:, : len(queries)]
    if not (np.abs(rough - exact) <= off).all():
        return False
    for share in (0.0, 0.5, 0.98):
        limit = np.quantile(exact, share, axis=0)
        pairs = kernel.above(left, right, limit, float((exact.max(axis=0) - limit).max()))
        found = np.zeros(exact.shape, dtype=bool)
        found[pairs.documents, pairs.queries] = True
        scores = exact[pairs.documents, pairs.queries]
        if (~found & (exact > limit)).any() or (np.abs(scores - pairs.rough) > pairs.error).any():
            return False
    return True


def _seconds(kernel: Kernel, dimensions: int) -> float:
    """Time for 1,024 documents and 1,024 queries, of which one pair in 500 is above the limit."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((2048, dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    left, right = kernel.documents(vectors[:1024]), kernel.queries(vectors[1024:])
    limit = np.full(1024, 2.9 / np.sqrt(dimensions))
    taken = []
    for _ in range(4):
        begun = time.perf_counter()
        kernel.above(left, right, limit, 0.2)
        taken.append(time.perf_counter() - begun)
    return min(taken[1:]) * _SLACK.get(kernel.name, 1.0)
