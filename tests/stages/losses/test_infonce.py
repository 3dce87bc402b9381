from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.errors import ConfigError
from stages.losses.infonce import Infonce
from stages.objectives import Batch, Outcome
from stages.registry import build


def naive(
    queries: np.ndarray, documents: np.ndarray, positives: np.ndarray, known: np.ndarray, temperature: float
) -> tuple[float, int]:
    """The definition in float64, one pair at a time: the loss and the number of masked pairs."""
    total, masked = 0.0, 0
    for i, query in enumerate(queries):
        own, others = 0.0, 0.0
        for j, document in enumerate(documents):
            cosine = float(
                np.dot(query, document) / np.sqrt(np.dot(query, query)) / np.sqrt(np.dot(document, document))
            )
            if j == positives[i]:
                own = np.exp(cosine / temperature)
            elif known[i, j]:
                masked += 1
            else:
                others += np.exp(cosine / temperature)
        total -= np.log(own / (own + others))
    return total / len(queries), masked


def case(seed: int, rows: int, extra: int, dimensions: int, share: float) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    queries = rng.standard_normal((rows, dimensions)) * rng.uniform(0.1, 10, (rows, 1))
    documents = rng.standard_normal((rows + extra, dimensions)) * rng.uniform(0.1, 10, (rows + extra, 1))
    positives = rng.permutation(rows + extra)[:rows]
    known = rng.random((rows, rows + extra)) < share
    return queries, documents, positives, known


def tensors(
    queries: np.ndarray, documents: np.ndarray, positives: np.ndarray, known: np.ndarray
) -> tuple[torch.Tensor, ...]:
    return torch.tensor(queries), torch.tensor(documents), torch.tensor(positives), torch.tensor(known)


def loss_of(
    loss: Infonce, queries: torch.Tensor, documents: torch.Tensor, positives: torch.Tensor, known: torch.Tensor
) -> Outcome:
    owners = torch.zeros(len(documents), dtype=torch.int64)  # a document belongs to no row in particular
    return loss.module()(Batch(queries, documents, positives, known, owners))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 7), st.integers(0, 9), st.floats(0, 1), st.sampled_from([0.02, 0.05, 1.0])
)
def test_loss_and_share_are_those_of_the_definition(seed: int, rows: int, extra: int, share: float, temperature: float):
    values = case(seed, rows, extra, 5, share)
    expected, count = naive(*values, temperature)
    loss, masked = loss_of(Infonce(temperature=temperature), *tensors(*values))
    assert float(loss) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert round(float(masked) * max(rows * (rows + extra - 1), 1)) == count


def test_gradients_are_those_of_the_definition_in_float64():
    queries, documents, positives, known = tensors(*case(3, 4, 5, 6, 0.3))

    def plain(q: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for i in range(len(q)):
            weights = [
                torch.exp(torch.dot(q[i], d[j]) / q[i].norm() / d[j].norm() / 0.05)
                for j in range(len(d))
                if j == positives[i] or not known[i, j]
            ]
            own = torch.exp(torch.dot(q[i], d[positives[i]]) / q[i].norm() / d[positives[i]].norm() / 0.05)
            total = total - torch.log(own / torch.stack(weights).sum())
        return total / len(q)

    found, expected = [], []
    for function, store in ((lambda q, d: loss_of(Infonce(), q, d, positives, known)[0], found), (plain, expected)):
        q, d = queries.clone().requires_grad_(), documents.clone().requires_grad_()
        function(q, d).backward()
        store += [q.grad, d.grad]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_gradients_in_float32_are_near_those_in_float64():
    queries, documents, positives, known = tensors(*case(5, 16, 16, 32, 0.1))
    grads = []
    for kind in (torch.float64, torch.float32):
        q, d = queries.to(kind, copy=True).requires_grad_(), documents.to(kind, copy=True).requires_grad_()
        loss_of(Infonce(), q, d, positives, known)[0].backward()
        grads.append(torch.cat([q.grad, d.grad]).double())
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-4, atol=1e-6)


def test_a_masked_document_moves_nothing_and_is_not_moved():
    queries, documents, positives, _ = tensors(*case(1, 3, 2, 4, 0))
    known = torch.zeros(3, 5, dtype=torch.bool)
    known[:, 4] = True
    positives[:] = torch.tensor([0, 1, 2])
    documents.requires_grad_()
    loss, share = loss_of(Infonce(), queries, documents, positives, known)
    loss.backward()
    assert torch.equal(documents.grad[4], torch.zeros(4, dtype=torch.float64))
    assert float(share) == 3 / 12
    without, _ = loss_of(Infonce(), queries, documents[:4], positives, known[:, :4])
    assert float(loss.detach()) == pytest.approx(float(without.detach()), rel=1e-12)


def test_the_own_positive_is_never_masked():
    queries, documents, positives, known = tensors(*case(2, 4, 3, 4, 0))
    own = known.clone()
    own[torch.arange(4), positives] = True
    assert torch.equal(
        loss_of(Infonce(), queries, documents, positives, known)[0],
        loss_of(Infonce(), queries, documents, positives, own)[0],
    )


def test_nothing_left_to_tell_apart_is_no_loss():
    queries, documents, positives, _ = tensors(*case(2, 4, 3, 4, 0))
    queries.requires_grad_()
    loss, share = loss_of(Infonce(), queries, documents, positives, torch.ones(4, 7, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0
    assert float(share) == 1
    assert torch.equal(queries.grad, torch.zeros_like(queries))


def test_without_known_positives_it_is_multiple_negatives_ranking():
    losses = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
    rng = torch.Generator().manual_seed(0)
    columns = [torch.randn(6, 8, generator=rng) for _ in range(4)]  # anchors, positives, two negatives a row
    theirs = losses.MultipleNegativesRankingLoss(torch.nn.Identity()).compute_loss_from_embeddings(columns, None)
    ours, share = loss_of(
        Infonce(), columns[0], torch.cat(columns[1:]), torch.arange(6), torch.zeros(6, 18, dtype=torch.bool)
    )
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)
    assert float(share) == 0


def test_mixed_precision_does_not_reach_the_logits():
    queries, documents, positives, known = (
        t.float() if t.is_floating_point() else t for t in tensors(*case(7, 8, 8, 16, 0.1))
    )
    plain, _ = loss_of(Infonce(), queries, documents, positives, known)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed, _ = loss_of(Infonce(), queries, documents, positives, known)
    assert torch.equal(plain, mixed)
    half, _ = loss_of(Infonce(), queries.bfloat16(), documents.bfloat16(), positives, known)
    assert half.dtype == torch.float32


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ConfigError, match="temperature"):
        build("losses", "infonce", {"temperature": 0})
