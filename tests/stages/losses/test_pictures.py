"""CLIP's, SigLIP's and SimCLR's loss, against their definitions one pair at a time and against the papers' own words."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stages.losses.clip import Clip
from stages.losses.nt_xent import NtXent
from stages.losses.siglip import Siglip
from stages.objectives import Batch
from tests.stages.losses import naive
from tests.stages.losses.test_directions import table

some_batches = given(
    seed=st.integers(0, 10_000), rows=st.integers(1, 5), extra=st.integers(0, 6), share=st.floats(0, 1),
    hard=st.sampled_from(["shared", "own"]),
)  # fmt: skip


def may_face(batch: Batch, i: int, j: int, hard: str) -> bool:
    """Whether document j may stand against row i: it is some row's positive, or a mined negative of this row or of any."""
    return hard == "shared" or j in batch.positives.tolist() or int(batch.owners[j]) == i


def clip(batch: Batch, temperature: float, hard: str) -> Tensor:
    """Both cross-entropies, one row at a time."""
    rows = range(len(batch.queries))
    total = torch.zeros((), dtype=torch.float64)
    for i in rows:
        own = int(batch.positives[i])
        logits = {
            j: naive.cosine(batch.queries[i], batch.documents[j]) / temperature
            for j in range(len(batch.documents))
            if j == own or (may_face(batch, i, j, hard) and not batch.known[i, j])
        }
        total = total - (logits[own] - torch.logsumexp(torch.stack(list(logits.values())), 0))
        among = {
            k: naive.cosine(batch.documents[own], batch.queries[k]) / temperature
            for k in rows
            if k == i or not batch.known[k, own]
        }
        total = total - (among[i] - torch.logsumexp(torch.stack(list(among.values())), 0))
    return total / (2 * len(batch.queries))


def siglip(batch: Batch, temperature: float, bias: float, hard: str) -> Tensor:
    """log(1 + exp(z · (-t x·y - b))) of each pair, as the paper writes it."""
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(batch.queries)):
        for j in range(len(batch.documents)):
            own = j == int(batch.positives[i])
            if not own and (batch.known[i, j] or not may_face(batch, i, j, hard)):
                continue
            z = 1 if own else -1
            similarity = naive.cosine(batch.queries[i], batch.documents[j]) / temperature
            total = total + torch.log(1 + torch.exp(z * (-similarity - bias)))
    return total / len(batch.queries)


def nt_xent(batch: Batch, temperature: float, hard: str) -> Tensor:
    """Equation 1 for each of the 2N views, which are the queries and their positives; mined negatives besides."""
    n, own = len(batch.queries), batch.positives.tolist()
    views = [*((batch.queries[i], i) for i in range(n)), *((batch.documents[own[i]], i) for i in range(n))]
    mined = [(batch.documents[j], int(batch.owners[j]), j) for j in range(len(batch.documents)) if j not in own]

    def belong(i: int, k: int, same_side: bool, left_is_query: bool) -> bool:
        """Whether what is known says that a view of row k is no negative of one of row i."""
        if same_side:
            return bool(batch.known[i, own[k]] or batch.known[k, own[i]])
        return bool(batch.known[i, own[k]] if left_is_query else batch.known[k, own[i]])

    total = torch.zeros((), dtype=torch.float64)
    for a, (left, i) in enumerate(views):
        other = (a + n) % (2 * n)
        partition = torch.zeros((), dtype=torch.float64)
        for b, (right, k) in enumerate(views):
            if b != a and (b == other or not belong(i, k, (a < n) == (b < n), a < n)):
                partition = partition + torch.exp(naive.cosine(left, right) / temperature)
        for right, owner, j in mined:
            if (hard == "shared" or owner == i) and not batch.known[i, j]:
                partition = partition + torch.exp(naive.cosine(left, right) / temperature)
        total = total - torch.log(torch.exp(naive.cosine(left, views[other][0]) / temperature) / partition)
    return total / (2 * n)


@settings(max_examples=50, deadline=None)
@some_batches
def test_clip_is_the_mean_of_both_cross_entropies(
    seed: int, rows: int, extra: int, *, share: float, hard: Literal["shared", "own"]
):
    batch = naive.case(seed, rows, extra, share)
    naive.agrees(Clip(hard_negatives=hard).module(), lambda b: clip(b, 0.07, hard), batch)


@settings(max_examples=50, deadline=None)
@some_batches
def test_siglip_is_the_logistic_loss_of_every_pair(
    seed: int, rows: int, extra: int, *, share: float, hard: Literal["shared", "own"]
):
    batch = naive.case(seed, rows, extra, share)
    loss = Siglip(hard_negatives=hard, bias=-2.0)
    naive.agrees(loss.module(), lambda b: siglip(b, 0.1, -2.0, hard), batch)


@settings(max_examples=50, deadline=None)
@some_batches
def test_nt_xent_is_equation_1_with_mined_negatives(
    seed: int, rows: int, extra: int, *, share: float, hard: Literal["shared", "own"]
):
    batch = naive.case(seed, rows, extra, share)
    naive.agrees(NtXent(hard_negatives=hard).module(), lambda b: nt_xent(b, 0.5, hard), batch)


def test_without_mined_negatives_and_masks_nt_xent_is_one_matrix_without_its_diagonal():
    """Algorithm 1: all 2N views against all, 2N − 2 of them negatives."""
    _, batch = table(1, 6, 0)
    views = torch.nn.functional.normalize(torch.cat([batch.queries, batch.documents]), dim=-1)
    scores = (views @ views.T / 0.2).fill_diagonal_(-torch.inf)
    other = torch.cat([torch.arange(6, 12), torch.arange(6)])
    expected = torch.nn.functional.cross_entropy(scores, other)
    outcome = NtXent(temperature=0.2).module()(batch)
    assert float(outcome.loss) == pytest.approx(float(expected), rel=1e-12)
    assert float(outcome.masked) == 0


def test_clip_is_that_of_transformers():
    from transformers.models.clip.modeling_clip import image_text_contrastive_loss

    _, batch = table(2, 7, 0)
    queries, documents = (torch.nn.functional.normalize(t, dim=-1) for t in (batch.queries, batch.documents))
    assert float(Clip().module()(batch).loss.detach()) == pytest.approx(
        float(image_text_contrastive_loss(queries @ documents.T / 0.07)), rel=1e-6
    )


def test_siglip_is_that_of_algorithm_1():
    """The listing of the paper: labels 2·I − 1, minus the sum of log-sigmoids over n."""
    _, batch = table(3, 7, 0)
    queries, documents = (torch.nn.functional.normalize(t, dim=-1) for t in (batch.queries, batch.documents))
    logits = queries @ documents.T * 10 - 10
    labels = 2 * torch.eye(7, dtype=torch.float64) - 1
    expected = -torch.nn.functional.logsigmoid(labels * logits).sum() / 7
    assert float(Siglip().module()(batch).loss.detach()) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("loss", [Clip(), Siglip()], ids=["clip", "siglip"])
def test_what_a_loss_learns_has_the_gradient_of_its_definition(loss: Any):
    batch = naive.case(6, 5, 4)
    module = loss.module()
    module(batch).loss.backward()
    scale = torch.tensor(-math.log(loss.temperature), dtype=torch.float64, requires_grad=True)
    bias = torch.tensor(getattr(loss, "bias", 0.0), dtype=torch.float64, requires_grad=True)
    if isinstance(loss, Clip):
        clip(batch, torch.exp(-scale), "shared").backward()  # type: ignore[arg-type]
    else:
        siglip(batch, torch.exp(-scale), bias, "shared").backward()  # type: ignore[arg-type]
        assert float(module.bias.offset.grad) == pytest.approx(100 * float(bias.grad), rel=1e-5)
    assert float(module.temperature.offset.grad) == pytest.approx(100 * float(scale.grad), rel=1e-5)


def test_the_learned_scale_ends_at_100():
    module = Clip(temperature_rate=1).module()
    batch = naive.case(5, 6, 0, 0.0)
    batch = replace(batch, documents=batch.queries[batch.owners])  # as right as can be: a higher scale is better
    optimizer = torch.optim.Adam([module.temperature.offset], lr=2.0)
    for _ in range(5):
        optimizer.zero_grad()
        module(batch).loss.backward()
        optimizer.step()
    module(batch)
    assert "temperature=0.01, learned" in str(module)


def test_masks_alone_tell_views_of_one_picture_apart_from_negatives():
    """Two rows show the same picture: without the mask its other view would be a negative."""
    _, batch = table(4, 4, 0)
    known = torch.zeros(4, 4, dtype=torch.bool)
    known[0, 1] = known[1, 0] = True
    outcome = NtXent().module()(replace(batch, known=known))
    assert float(outcome.masked) == pytest.approx(8 / 48)  # 4 of them in each of two groups, of 2 · (12 + 12) negatives
