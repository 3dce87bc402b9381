"""Which kernel: those that pass a test against float64 on this machine, and of them the fastest by one measurement."""

from __future__ import annotations

import time
from collections import deque
from functools import cache

import numpy as np

from stages.errors import ResourceError
from stages.indexes._kernels import PACK, Bf16, Dense, Int8, Kernel, bound
from stages.indexes._tiles import Tiles

_MORE = {"int8": 4e-7}
"""Seconds that a query costs more for each of its values by a wider bound, which leaves some 500 pairs more to be scored."""
_TURNS, _LEAST = 12, 2
_HOPELESS = 3.0  # times the best after `_LEAST` turns


def choose(name: str, device: str, rows: int, dimensions: int) -> Kernel:
    """The fastest sound kernel of a name, or of all for auto, to search `rows` vectors. Raises ResourceError when there is none."""
    seconds = _measured(name, device, dimensions)
    return min(seconds, key=lambda kernel: seconds[kernel] * rows + _MORE.get(kernel.name, 0.0) * dimensions)


@cache
def _measured(name: str, device: str, dimensions: int) -> dict[Kernel, float]:
    """The sound kernels of a name, or of all for auto, and what a pair costs them in seconds, 0 for one that is alone."""
    sound: list[Kernel] = []
    for kernel in _kernels(name, device):
        in_tiles = any(isinstance(each, Tiles) for each in sound)  # than which these are never faster
        if not (in_tiles and isinstance(kernel, Bf16 | Dense)) and passes(kernel, dimensions):
            sound.append(kernel)
    if not sound:
        raise ResourceError(
            f"the kernel {name} does not give right results here",
            where="kernel",
            got=f"vectors of {dimensions} values, device {device}",
            try_='kernel = "auto"',
        )
    return dict.fromkeys(sound, 0.0) if len(sound) == 1 else _seconds(sound, dimensions)


def _kernels(name: str, device: str) -> list[Kernel]:
    if device == "cpu":
        from stages.compiled import instructions

        all_: list[Kernel] = [
            *([Tiles()] if instructions.available() else []),
            Bf16(),
            Int8(),
            Dense(),
            Dense(blas="numpy"),
        ]
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


@cache
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
    size = PACK[kernel.device]
    left, right = kernel.documents(documents), kernel.queries(queries)
    exact = documents.astype(np.float64) @ queries.astype(np.float64).T
    off = bound(left, right, 2 * documents.shape[1] + 16) + 2.0**-8 * left.length  # and what storing it rounds
    for number, pack in enumerate(right.packs):
        part = slice(number * size, min(number * size + size, len(queries)))
        rough = kernel.scores(left, pack).float().cpu().numpy()[:, : part.stop - part.start]
        if not (np.abs(rough - exact[:, part]) <= off[part]).all():
            return False
    for share in (0.0, 0.5, 0.98):
        limit = np.quantile(exact, share, axis=0)
        span = np.full(len(right.packs), float((exact.max(axis=0) - limit).max()))
        found = np.zeros(exact.shape, dtype=bool)
        for number, pairs in kernel.above(left, right, limit, span, range(len(right.packs))):
            place = pairs.documents, pairs.queries + number * size
            found[place] = True
            if (exact[place] < pairs.least).any() or (exact[place] > pairs.most).any():
                return False
        if (~found & (exact > limit)).any():
            return False
    return True


def _seconds(kernels: list[Kernel], dimensions: int) -> dict[Kernel, float]:
    """Time for a pair of each kernel, of 1,024 documents and a pack of queries, where one pair in 500 is above the limit.

    The kernels take turns and the shortest of their turns counts, so that others' work on the machine does not. One that is
    far behind has no more turns.
    """
    count = PACK[kernels[0].device]
    random = np.random.default_rng(0)
    vectors = random.standard_normal((1024 + count, dimensions), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    limit, span = np.full(count, 2.9 / np.sqrt(dimensions)), np.array([0.2])
    ready = [(kernel, kernel.documents(vectors[:1024]), kernel.queries(vectors[1024:])) for kernel in kernels]
    clock = time.process_time if kernels[0].device == "cpu" else time.perf_counter  # waiting for a core is no work
    best = dict.fromkeys(kernels, np.inf)
    for turn in range(_TURNS):
        for kernel, left, right in ready:
            if turn >= _LEAST and best[kernel] > _HOPELESS * min(best.values()):
                continue
            begun = clock()
            deque(kernel.above(left, right, limit, span, [0]), maxlen=0)
            best[kernel] = min(best[kernel], (clock() - begun) / (1024 * count))
    return best
