"""Votes and the classifier against plain loops and scikit-learn."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from stages.probing import neighbours, probe


def data(seed: int, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((4, 6))
    labels, asked = rng.integers(0, 4, 80), rng.integers(0, 4, 50)
    known, vectors = (centres[of] + spread * rng.standard_normal((len(of), 6)) for of in (labels, asked))
    return known.astype(np.float32), labels, vectors.astype(np.float32), asked


@pytest.mark.parametrize("k", [1, 5, 200])
def test_the_vote_is_that_of_plain_counting(k: int):
    known, labels, asked, _ = data(1, 2.0)
    expected = []
    for vector in asked.astype(np.float64):
        cosines = [float(vector @ w / np.linalg.norm(vector) / np.linalg.norm(w)) for w in known.astype(np.float64)]
        order = sorted(range(len(known)), key=lambda i: (-cosines[i], i))[:k]
        votes = Counter(labels[i] for i in order)
        expected.append(next(labels[i] for i in order if votes[labels[i]] == max(votes.values())))
    assert neighbours(known, labels, asked, k).tolist() == expected


def test_the_classifier_is_that_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler, normalize

    known, labels, asked, truth = data(2)
    scale = StandardScaler().fit(normalize(known.astype(np.float64)))
    theirs = LogisticRegression(C=1 / (0.01 * len(known)), max_iter=2000, tol=1e-8)
    theirs.fit(scale.transform(normalize(known.astype(np.float64))), labels)
    found = probe(known, labels, asked, 0.01)
    assert found.tolist() == theirs.predict(scale.transform(normalize(asked.astype(np.float64)))).tolist()
    assert (found == truth).mean() > 0.6
    assert (found == truth).mean() < 1
