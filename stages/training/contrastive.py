"""From the tokens of a batch to its loss, with the activations of the whole batch in memory or of one pass only.

Gradient caching: Gao, Zhang, Han and Callan, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup",
2021, section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.gradcache import RandContext
from torch import Tensor, nn

from stages.checkpoints import Journal
from stages.objectives import Batch, Objective, Outcome
from stages.training.world import World

Features = dict[str, Any]


class Contrastive(nn.Module):
    """The loss as the trainer wants it: a module that holds the model and takes a batch."""

    def __init__(
        self,
        model: SentenceTransformer,
        objective: Objective,
        journal: Journal,
        *,
        cached: bool = False,
        world: World = World(),  # noqa: B008
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.model, self.objective, self._journal, self._cached = model, objective.module(), journal, cached
        self._world, self._seed = world, seed

    def forward(self, batch: dict[str, Any], labels: None) -> Tensor:
        self._world.seed(self._seed, batch["number"])
        queries, documents = self.embed(batch["query"], "query"), self.embed(batch["document"], "document")
        positives = torch.arange(len(queries), device=queries.device)
        outcome: Outcome = self.objective(
            Batch(queries, documents, positives, batch["known"], batch["owners"], **batch["guidance"])
        )
        self._journal.add(
            outcome.loss.detach(),
            outcome.masked,
            len(queries) + len(documents),
            self._world.total(sum(batch[name]["at_limit"] for name in ("query", "document")), queries.device),
        )
        return outcome.loss

    def embed(self, tokens: dict[str, Any], role: str) -> Tensor:
        """Embeddings in the order of the texts: float (n, d)."""
        cached = self._cached and torch.is_grad_enabled()
        embed = _embed_cached if cached else _embed
        if tokens["passes"]:
            own = embed(self.model, tokens["passes"], role)
        else:  # too few texts for all processes
            own = torch.zeros(0, self.model.get_embedding_dimension(), device=self.model.device, requires_grad=True)
        return self._world.whole(own, tokens["own"], len(tokens["places"]))[tokens["places"]]


def _embed(model: SentenceTransformer, passes: Sequence[Features], role: str) -> Tensor:
    """The embeddings of one pass after the other."""
    return torch.cat([_pass(model, features, role) for features in passes])


def _pass(model: SentenceTransformer, features: Features, role: str) -> Tensor:
    embeddings: Tensor = model(dict(features), task=role)["sentence_embedding"]
    return embeddings


def _embed_cached(model: SentenceTransformer, passes: Sequence[Features], role: str) -> Tensor:
    """The embeddings without what led to them; once their gradient is there, each pass is done again to send it on.

    A pass that is done again draws the same random numbers, so that dropout is the same, and is computed in the same
    precision.
    """
    device = model.device.type
    mixed, kind = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    states: list[RandContext] = []
    found: list[Tensor] = []
    with torch.no_grad():
        for features in passes:
            states.append(RandContext(*(value for value in features.values() if isinstance(value, Tensor))))
            found.append(_pass(model, features, role))
    embeddings = torch.cat(found).requires_grad_()

    def replay(gradient: Tensor) -> None:
        pieces = torch.split(gradient, [len(values) for values in found])  # type: ignore[no-untyped-call]
        with torch.enable_grad(), torch.autocast(device, dtype=kind, enabled=mixed):
            for features, state, piece in zip(passes, states, pieces, strict=True):
                with state:
                    values = _pass(model, features, role)
                torch.autograd.backward(values, piece)

    embeddings.register_hook(replay)  # type: ignore[no-untyped-call]
    return embeddings
