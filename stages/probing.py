"""What vectors say of classes: the nearest neighbours' vote, and a linear classifier.

Both are deterministic: the vote has its ties broken, and the classifier is the one minimum of a strictly convex function.
"""

from __future__ import annotations

import numpy as np

_BLOCK = 1_024
_STEPS = 500


def neighbours(known: np.ndarray, labels: np.ndarray, asked: np.ndarray, k: int) -> np.ndarray:
    """The class that most of the k nearest vectors by cosine have: int64 (m,).

    Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", 2018, section 3.4, with equal weights.
    Of classes with as many votes it is that of the nearest vector; of equally near vectors the first counts. `known` is
    float32 (n, d) with `labels` int64 (n,) from 0 on, `asked` float32 (m, d).
    """
    known, asked = _unit(known), _unit(asked)
    k, classes = min(k, len(known)), int(labels.max()) + 1
    found = np.empty(len(asked), dtype=np.int64)
    for start in range(0, len(asked), _BLOCK):
        scores = asked[start : start + _BLOCK] @ known.T
        nearest = labels[np.argsort(-scores, axis=1, kind="stable")[:, :k]]  # (b, k)
        votes = np.zeros((len(nearest), classes))
        np.add.at(votes, (np.arange(len(nearest))[:, None], nearest), 1.0)
        first = np.full(votes.shape, k)
        np.minimum.at(first, (np.arange(len(nearest))[:, None], nearest), np.arange(k))
        found[start : start + _BLOCK] = np.argmax(votes - first / (k + 1), axis=1)
    return found


def probe(known: np.ndarray, labels: np.ndarray, asked: np.ndarray, penalty: float) -> np.ndarray:
    """The class that a multinomial logistic regression gives: int64 (m,).

    It minimises the mean cross-entropy plus `penalty`/2 times the squared weights, over vectors of length 1 whose values have mean
    0 and variance 1 in `known`, by L-BFGS in float64 from 0 on. Shapes as for `neighbours`.
    """
    import torch

    known, asked = _unit(known), _unit(asked)
    mean, spread = known.mean(axis=0), known.std(axis=0)
    spread[spread == 0] = 1
    inputs, wanted = torch.from_numpy((known - mean) / spread), torch.from_numpy(labels)
    weights = torch.zeros(inputs.shape[1], int(labels.max()) + 1, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(weights.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weights, bias], max_iter=_STEPS, tolerance_grad=1e-6, history_size=20, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = (
            torch.nn.functional.cross_entropy(inputs @ weights + bias, wanted) + penalty / 2 * weights.square().sum()
        )
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        scores = torch.from_numpy((asked - mean) / spread) @ weights + bias
    return np.asarray(scores.argmax(dim=1).numpy())


def _unit(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True).clip(1e-300))
