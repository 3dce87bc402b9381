"""The exact join gives what a search in float64 over all documents gives, to the bit, however it is cut up."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import scoring
from stages.indexes import _choose, _join, _kernels
from stages.indexes.exact import Exact
from stages.scoring import score_pairs
from stages.search import certified_search
from tests.kernels import named, sound

KERNELS = sound(16)
DIMENSIONS = (1, 3, 8, 17, 64)
KINDS = ("unit", "grid", "duplicates", "lengths", "negative", "tiny", "close")


def corpus_of(kind: str, random: np.random.Generator, n: int, d: int) -> np.ndarray:
    values = random.standard_normal((n, d))
    if kind == "unit":
        values /= np.linalg.norm(values, axis=1, keepdims=True)
    if kind == "grid":
        values = random.integers(-1, 2, (n, d))
    if kind == "duplicates":
        values = values[random.integers(0, max(1, n // 20), n)]
    if kind == "lengths":
        values *= 10.0 ** random.uniform(-5, 4, (n, 1))
    if kind == "negative":
        values = -np.abs(values)
    if kind == "tiny":
        values *= 1e-20
        values[:: max(1, n // 3)] = 0
    if kind == "close":
        values = values[:1] + 1e-6 * values
    return values.astype(np.float32)


def reference(queries: np.ndarray, corpus: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    i, j = (index.ravel() for index in np.indices((len(queries), len(corpus))))
    scores = score_pairs(queries, corpus, i, j).reshape(len(queries), len(corpus))
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(scores, rows, axis=1)


@given(
    kind=st.sampled_from(KINDS),
    queries_kind=st.sampled_from(KINDS),
    kernel=st.sampled_from(KERNELS),
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 400),
    m=st.integers(1, 20),
    d=st.sampled_from(DIMENSIONS),
    k=st.integers(1, 60),
    blocks=st.sampled_from([(3, 50), (8, 64), (2048, 1024)]),
    few=st.sampled_from([0, 0, 1 << 26]),
)
def test_the_join_is_the_float64_search(
    *,
    kind: str,
    queries_kind: str,
    kernel: str,
    seed: int,
    n: int,
    m: int,
    d: int,
    k: int,
    blocks: tuple[int, int],
    few: int,
) -> None:
    random = np.random.default_rng(seed)
    corpus, queries = corpus_of(kind, random, n, d), corpus_of(queries_kind, random, m, d)
    rows, scores = reference(queries, corpus, k)
    pieces = np.split(corpus, np.sort(random.integers(0, n + 1, 2)))
    with (
        patch.dict(_kernels.PACK, cpu=blocks[0]),
        patch.object(_join, "_DOCUMENTS", {"cpu": blocks[1]}),
        patch.object(scoring, "_FEW", few),
        named(kernel) as name,
    ):
        searcher = Exact(kernel=name, device="cpu").build(pieces, n, d)
        parts = np.array_split(queries, random.integers(1, m + 1))
        hits = [certified_search(searcher, part, corpus, k, True) for part in parts]
    np.testing.assert_array_equal(np.concatenate([hit.rows for hit in hits]), rows)
    assert np.concatenate([hit.scores for hit in hits]).tobytes() == scores.tobytes()


@pytest.mark.parametrize("kernel", KERNELS)
@given(
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**32 - 1),
    d=st.sampled_from(DIMENSIONS),
    share=st.floats(0, 1),
)
def test_no_pair_above_a_limit_is_left_out_and_scores_keep_their_bound(
    kernel: str, kind: str, seed: int, d: int, share: float
) -> None:
    random = np.random.default_rng(seed)
    corpus, queries = corpus_of(kind, random, 130, d), random.standard_normal((9, d))
    queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    exact = queries.astype(np.float64) @ corpus.astype(np.float64).T
    with named(kernel) as name:
        candidates = _choose._kernels(name, "cpu")
    for candidate in candidates:
        limit = np.quantile(exact, share, axis=1)
        encoded = candidate.documents(corpus), candidate.queries(queries)
        ((_, pairs),) = candidate.above(*encoded, limit, np.array([0.1]), [0])
        found = np.zeros(exact.shape, dtype=bool)
        found[pairs.queries, pairs.documents] = True
        assert not (~found & (exact > limit[:, None])).any()
        scores = exact[pairs.queries, pairs.documents]
        assert (scores >= pairs.least).all()
        assert (scores <= pairs.most).all()
