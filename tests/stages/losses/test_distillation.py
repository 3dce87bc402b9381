"""Margin-MSE and KL distillation, against their definitions and sentence-transformers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.errors import ConfigError
from stages.losses.kl_distillation import KlDistillation
from stages.losses.margin_mse import MarginMse
from tests.stages.losses import naive
from tests.stages.losses.test_directions import table


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000), rows=st.integers(1, 5), extra=st.integers(0, 12), share=st.floats(0, 1),
    kind=st.sampled_from(["dot", "cosine"]), scale=st.sampled_from([1.0, 7.0]),
)  # fmt: skip
def test_margins_are_those_of_the_definition(
    *, seed: int, rows: int, extra: int, share: float, kind: Any, scale: float
):
    batch = naive.case(seed, rows, extra, share)
    loss = MarginMse(similarity=kind, scale=scale)
    assert naive.agrees(loss.module(), lambda b: naive.margin_mse(b, kind, scale), batch).masked == 0


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000), rows=st.integers(1, 5), extra=st.integers(0, 12), share=st.floats(0, 1),
    kind=st.sampled_from(["dot", "cosine"]), temperature=st.sampled_from([0.2, 2.0]), teacher=st.sampled_from([0.3, 1.0]),
)  # fmt: skip
def test_distributions_are_those_of_the_definition(
    *, seed: int, rows: int, extra: int, share: float, kind: Any, temperature: float, teacher: float
):
    batch = naive.case(seed, rows, extra, share)
    loss = KlDistillation(similarity=kind, temperature=temperature, teacher_temperature=teacher)
    assert naive.agrees(loss.module(), lambda b: naive.kl(b, kind, temperature, teacher), batch).masked == 0


@pytest.mark.parametrize("negatives", [1, 3])
def test_they_are_those_of_sentence_transformers(negatives: int):
    losses = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
    columns, batch = table(1, 6, negatives)
    labels = torch.randn(6, 1 + negatives, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    batch = replace(batch, scores=labels.T.reshape(-1))
    theirs = losses.MarginMSELoss(torch.nn.Identity()).compute_loss_from_embeddings(columns, labels)
    assert float(MarginMse().module()(batch).loss) == pytest.approx(float(theirs), rel=1e-9)
    distil = losses.DistillKLDivLoss(torch.nn.Identity(), student_temperature=0.7, teacher_temperature=0.4)
    ours = KlDistillation(similarity="dot", temperature=0.7, teacher_temperature=0.4).module()(batch).loss
    assert 0.7**2 * float(ours) == pytest.approx(float(distil.compute_loss_from_embeddings(columns, labels)), rel=1e-9)


def test_a_batch_without_any_score_moves_nothing():
    batch = replace(naive.case(1, 4, 6), scores=torch.full((10,), torch.nan, dtype=torch.float64))
    for loss in (MarginMse(), KlDistillation()):
        queries = batch.queries.clone().requires_grad_()
        value = loss.module()(replace(batch, queries=queries)).loss
        value.backward()
        assert float(value.detach()) == 0
        assert torch.equal(queries.grad, torch.zeros_like(queries))


def test_a_far_teacher_is_no_overflow():
    batch = naive.case(1, 4, 8, 0.0)
    batch = replace(batch, scores=batch.scores * 1e6)
    for loss in (KlDistillation(), KlDistillation(similarity="dot", temperature=1e-3)):
        assert torch.isfinite(loss.module()(batch).loss)


@pytest.mark.parametrize("loss", [MarginMse(), KlDistillation()])
def test_without_a_teacher_it_says_what_to_configure(loss: Any):
    with pytest.raises(ConfigError, match="no teacher's scores") as caught:
        loss.module()(replace(naive.case(1, 3, 3), scores=None))
    assert "teach.teachers" in str(caught.value.try_)


def test_mixed_precision_does_not_reach_the_loss():
    batch = naive.case(7, 6, 6, 0.1)
    batch = replace(batch, queries=batch.queries.float(), documents=batch.documents.float())
    for loss in (MarginMse(), KlDistillation()):
        plain = loss.module()(batch).loss
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(loss.module()(batch).loss, plain)
        half = replace(batch, queries=batch.queries.bfloat16(), documents=batch.documents.bfloat16())
        assert loss.module()(half).loss.dtype == torch.float32
