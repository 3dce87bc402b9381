"""Gradients of a batch whose passes are done twice, against those of the whole batch at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from stages.checkpoints import Journal
from stages.losses.clip import Clip
from stages.losses.infonce import Infonce
from stages.losses.nt_xent import NtXent
from stages.losses.siglip import Siglip
from stages.objectives import Batch, Outcome
from stages.training.collator import Collator
from stages.training.contrastive import Contrastive
from tests.stages.test_train import Encoder, phrases


class Learned:
    """InfoNCE whose temperature is learned, with its own dropout."""

    def module(self) -> nn.Module:
        return _Learned()


class _Learned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.inner = Infonce().module()

    def forward(self, batch: Batch) -> Outcome:
        scores = nn.functional.dropout(batch.queries, 0.2) @ batch.documents.T * self.scale
        scores = scores.masked_fill(batch.known.scatter(1, batch.positives.unsqueeze(1), False), -torch.inf)
        found = self.inner(batch)
        return Outcome(nn.functional.cross_entropy(scores, batch.positives) + found.loss, found.masked)


def batch(collator: Collator, rows: int, known: float) -> dict[str, Any]:
    some = phrases()[:: len(phrases()) // rows][:rows]
    documents = [own for _, own, _ in some] + [sibling for _, _, sibling in some]
    mask = np.random.default_rng(0).random((rows, 2 * rows)) < known
    return {
        "query": collator.tokens("query", [term for term, _, _ in some], [""] * rows),
        "document": collator.tokens("document", documents, [""] * (2 * rows)),
        "known": torch.from_numpy(mask),
        "owners": torch.arange(2 * rows) % rows,
        "guidance": {},
        "number": 0,
    }


def gradients(encoder: Encoder, loss: Any, rows: int, known: float, dropout: bool, **how: Any) -> dict[str, Any]:
    model = encoder.module("cpu").train(dropout)
    collator = Collator(None, None, None, None, model, None, pass_rows=4)  # type: ignore[arg-type]
    contrastive = Contrastive(model, loss, Journal(), **how)
    torch.manual_seed(5)
    value = contrastive(batch(collator, rows, known), None)
    (value / 2).backward()
    found = {name: p.grad for name, p in contrastive.named_parameters() if p.grad is not None}
    return {"loss": value.detach(), "next random number": torch.rand(1), **found}


@pytest.mark.parametrize("dropout", [False, True], ids=["without dropout", "with dropout"])
@pytest.mark.parametrize("known", [0.0, 0.3], ids=["nothing known", "with known positives"])
@pytest.mark.parametrize(
    "loss", [Infonce(), Learned(), Clip(), Siglip(), NtXent()], ids=["infonce", "learned", "clip", "siglip", "nt_xent"]
)
def test_gradients_of_passes_are_those_of_the_whole_batch(encoder: Encoder, loss: Any, known: float, dropout: bool):
    whole, cached = (gradients(encoder, loss, 11, known, dropout, cached=c) for c in (False, True))
    assert whole.keys() == cached.keys()
    assert len(whole) > 30
    for name in whole:
        norm = float(whole[name].norm())
        torch.testing.assert_close(cached[name], whole[name], rtol=1e-5, atol=1e-6 * max(norm, 1), msg=name)


def test_dropout_that_is_not_replayed_would_be_seen(encoder: Encoder, monkeypatch: pytest.MonkeyPatch):
    from contextlib import nullcontext

    from stages.training import contrastive

    whole = gradients(encoder, Infonce(), 11, 0, True)
    monkeypatch.setattr(contrastive, "RandContext", lambda *_: nullcontext())
    cached = gradients(encoder, Infonce(), 11, 0, True, cached=True)
    name = max((name for name in whole if name.startswith("model")), key=lambda name: float(whole[name].norm()))
    assert float((whole[name] - cached[name]).norm()) > 0.05 * float(whole[name].norm())


def test_mixed_precision_is_replayed(encoder: Encoder):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model = encoder.module("cpu").eval()
        collator = Collator(None, None, None, None, model, None, pass_rows=4)  # type: ignore[arg-type]
        values = {}
        for cached in (False, True):
            model.zero_grad()
            contrastive = Contrastive(model, Infonce(), Journal(), cached=cached)
            value = contrastive(batch(collator, 6, 0), None)
            with torch.autocast("cpu", enabled=False):
                value.backward()
            values[cached] = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert float((values[True] - values[False]).norm()) < 0.02 * float(values[False].norm())


def test_only_the_activations_of_one_pass_are_kept(encoder: Encoder):
    """The bytes that autograd keeps for the backward pass do not grow with the batch."""
    kept = []
    for rows in (8, 32):
        model = encoder.module("cpu").train()
        collator = Collator(None, None, None, None, model, 16, pass_rows=4)  # type: ignore[arg-type]
        contrastive = Contrastive(model, Infonce(), Journal(), cached=True)
        total = [0, 0]

        def pack(tensor: torch.Tensor, total: list[int] = total) -> torch.Tensor:
            total[0] += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            contrastive(batch(collator, rows, 0), None)
        kept.append(total[0])
    assert kept[1] < 32 * 64 * 128 * 4 * 20  # the matrices of the loss, no layer of the model
