"""Losses over shortened embeddings, against the definition and sentence-transformers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional

from stages.errors import ConfigError
from stages.losses.guided import Guided
from stages.losses.infonce import Infonce
from stages.losses.kl_distillation import KlDistillation
from stages.losses.margin_mse import MarginMse
from stages.losses.matryoshka import Matryoshka
from stages.objectives import Batch, Wants
from stages.registry import build
from tests.stages.losses import naive
from tests.stages.losses.test_directions import Given, table

INNER: dict[str, tuple[Any, Any]] = {
    "infonce": (Infonce(), lambda b: naive.infonce(b, ("query_to_document",))[0]),
    "guided": (Guided(), lambda b: naive.infonce(b, Guided().directions, margin=0.0)[0]),
    "margin_mse": (MarginMse(), lambda b: naive.margin_mse(b, "dot", 1.0)),
    "kl_distillation": (KlDistillation(), lambda b: naive.kl(b, "cosine", 0.05, 1.0)),
}


def shortened(vectors: torch.Tensor, size: int) -> torch.Tensor:
    """One vector at a time: its first dimensions, as long as it is itself."""
    rows = []
    for vector in vectors:
        short = vector[:size]
        rows.append(short * torch.sqrt(torch.dot(vector, vector) / torch.dot(short, short)))
    return torch.stack(rows)


@pytest.mark.parametrize("name", sorted(INNER))
@pytest.mark.parametrize("listed", [True, False], ids=["full listed", "full added"])
def test_it_is_the_weighted_sum_over_lengths(name: str, listed: bool):
    inner, definition = INNER[name]
    weights = {8: 1.0, 3: 0.5, 2: 2.0} if not listed else {3: 0.5, 8: 4.0, 2: 2.0}

    def expected(batch: Batch) -> torch.Tensor:
        return sum(
            weight * definition(
                replace(batch, queries=shortened(batch.queries, size), documents=shortened(batch.documents, size))
            )
            for size, weight in weights.items()
        )  # fmt: skip

    given = {size: weight for size, weight in weights.items() if listed or size != 8}
    loss = Matryoshka(inner=inner, dimensions=tuple(given), weights=tuple(given.values()))
    batch = naive.case(4, 4, 6, dimensions=8)
    outcome = naive.agrees(loss.module(), expected, batch)
    assert outcome.masked == inner.module()(batch).masked


def test_it_is_that_of_sentence_transformers():
    losses = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
    columns, batch = table(1, 6, 2)
    model = Given()
    theirs = losses.MatryoshkaLoss(model, losses.MultipleNegativesRankingLoss(model), [8, 4, 2], [1.0, 0.5, 0.25])
    expected = theirs([{"sentence_embedding": functional.normalize(column)} for column in columns], None)
    ours = Matryoshka(dimensions=(8, 4, 2), weights=(1.0, 0.5, 0.25)).module()(batch).loss
    assert float(ours) == pytest.approx(float(expected), rel=1e-9)


def test_a_temperature_inside_is_one_for_all_lengths_and_is_learned():
    loss = build("losses", "matryoshka", {
        "inner": {"name": "infonce", "learned_temperature": True}, "dimensions": [2, 4],
    })  # fmt: skip
    module = loss.module()  # type: ignore[attr-defined]
    assert [name for name, _ in module.named_parameters()] == ["inner.temperature.offset"]
    module(naive.case(1, 4, 4, dimensions=8)).loss.backward()
    assert float(module.inner.temperature.offset.grad) != 0


def test_it_wants_what_the_inner_loss_wants():
    assert Matryoshka(inner=MarginMse(teacher="big")).wants == Wants(scores=True, teacher="big")
    assert Matryoshka(inner=Guided()).wants == Wants(guide=True)
    assert Matryoshka().wants == Wants()


@pytest.mark.parametrize(
    "fields", [{"dimensions": []}, {"dimensions": [4, 4]}, {"dimensions": [0]}, {"dimensions": [2, 4], "weights": [1]},
               {"dimensions": [2], "weights": [-1]}],
)  # fmt: skip
def test_lengths_and_weights_that_do_not_fit_are_refused(fields: dict[str, Any]):
    with pytest.raises(ConfigError, match="Matryoshka"):
        build("losses", "matryoshka", fields)


def test_a_length_that_the_model_does_not_have_is_refused():
    with pytest.raises(ConfigError, match="more than the model has") as caught:
        Matryoshka(dimensions=(4, 16)).module()(naive.case(1, 3, 3, dimensions=8))
    assert caught.value.got == "16 of 8"
