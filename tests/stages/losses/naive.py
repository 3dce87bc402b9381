"""The definitions of the losses in float64, one pair at a time, and batches to hold the losses against them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from stages.objectives import Batch, Outcome


def case(seed: int, rows: int, extra: int, share: float = 0.2, *, dimensions: int = 5) -> Batch:
    """Rows with `extra` negatives among them, some with none; positives in any places; everything else by chance."""
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    count = rows + extra
    places = torch.randperm(count, generator=rng)
    owners = torch.empty(count, dtype=torch.int64)
    owners[places[:rows]] = torch.arange(rows)
    owners[places[rows:]] = torch.randint(0, rows, (extra,), generator=rng)
    scores = draw(count) * 2
    scores[torch.rand(count, generator=rng) < share] = math.nan
    return Batch(
        queries=draw(rows, dimensions) * 3,
        documents=draw(count, dimensions) * 3,
        positives=places[:rows],
        known=torch.rand(rows, count, generator=rng) < share,
        owners=owners,
        scores=scores,
        guide_queries=draw(rows, 4),
        guide_documents=draw(count, 4),
    )


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a, b) / torch.sqrt(torch.dot(a, a)) / torch.sqrt(torch.dot(b, b))


def sides(direction: str, batch: Batch, i: int, guide: bool = False) -> tuple[Tensor, Tensor]:
    """What row i is, and what is held against it."""
    queries = batch.guide_queries if guide else batch.queries
    documents = batch.guide_documents if guide else batch.documents
    left, right = direction.split("_to_")
    return queries[i] if left == "query" else documents[batch.positives[i]], queries if right == "query" else documents


def is_negative(direction: str, batch: Batch, i: int, j: int, shared: bool) -> bool:
    """Whether column j may be a negative of row i before anything is masked."""
    own = int(batch.positives[i])
    if direction in {"document_to_query", "query_to_query"}:
        return j != i
    brought = int(batch.owners[j])
    hard = j not in batch.positives.tolist()
    if j == own or (not shared and hard and brought != i):
        return False
    return not (direction == "document_to_document" and hard and brought == i)


def is_relevant(direction: str, batch: Batch, i: int, j: int) -> bool:
    """Whether what is known says that column j belongs with row i."""
    own, known = int(batch.positives[i]), batch.known
    match direction:
        case "query_to_document":
            return bool(known[i, j])
        case "document_to_query":
            return bool(known[j, own])
        case "query_to_query":
            return bool(known[i, batch.positives[j]] or known[j, own])
    rows = [k for k in range(len(batch.positives)) if int(batch.positives[k]) == j]
    return bool(known[i, j]) or any(bool(known[k, own]) for k in rows)


def infonce(
    batch: Batch,
    directions: tuple[str, ...],
    *,
    temperature: float = 0.05,
    joint: bool = True,
    shared: bool = True,
    hardness: float = 0.0,
    hardness_of: str = "all",
    margin: float | None = None,
    relative: bool = False,
) -> tuple[Tensor, float]:
    """The loss and the share that is masked."""
    total, masked, count = torch.zeros((), dtype=torch.float64), 0, 0
    for i in range(len(batch.queries)):
        own = torch.exp(cosine(batch.queries[i], batch.documents[batch.positives[i]]) / temperature)
        sums = []
        for direction in directions:
            row, columns = sides(direction, batch, i)
            below = own if direction in {"query_to_document", "document_to_query"} else torch.zeros_like(own)
            for j in range(len(columns)):
                if not is_negative(direction, batch, i, j, shared):
                    continue
                count += 1
                drop = is_relevant(direction, batch, i, j)
                if margin is not None:
                    asked, answers = sides(direction, batch, i, guide=True)
                    best = cosine(batch.guide_queries[i], batch.guide_documents[batch.positives[i]])
                    limit = best - abs(best) * margin if relative else best - margin
                    drop = drop or bool(cosine(asked, answers[j]) > limit)
                if drop:
                    masked += 1
                    continue
                value = cosine(row, columns[j])
                hard = direction == "query_to_document" and j not in batch.positives.tolist() and batch.owners[j] == i
                heavy = {"all": True, "hard": hard, "in_batch": not hard}[hardness_of]
                weight = math.exp(hardness * float(value.detach())) if heavy else 1.0
                below = below + weight * torch.exp(value / temperature)
            sums.append((direction, below))
        if joint:
            holds = any(direction in {"query_to_document", "document_to_query"} for direction, _ in sums)
            total = total - torch.log(own / (sum(below for _, below in sums) + (0 if holds else own)))
        else:
            for direction, below in sums:
                holds = direction in {"query_to_document", "document_to_query"}
                total = total - torch.log(own / (below if holds else below + own)) / len(directions)
    return total / len(batch.queries), masked / max(count, 1)


def similarity(kind: str, a: Tensor, b: Tensor) -> Tensor:
    return cosine(a, b) if kind == "cosine" else torch.dot(a, b)


def margin_mse(batch: Batch, kind: str, scale: float) -> Tensor:
    errors = []
    for i, own in enumerate(batch.positives.tolist()):
        for j in range(len(batch.documents)):
            wanted = float(batch.scores[own] - batch.scores[j])
            if batch.owners[j] == i and j != own and not math.isnan(wanted):
                query = batch.queries[i]
                found = similarity(kind, query, batch.documents[own]) - similarity(kind, query, batch.documents[j])
                errors.append((scale * found - wanted) ** 2)
    return sum(errors) / len(errors) if errors else (batch.queries * 0).sum()


def kl(batch: Batch, kind: str, temperature: float, teacher_temperature: float) -> Tensor:
    total, rows = (batch.queries * 0).sum() + (batch.documents * 0).sum(), 0
    for i in range(len(batch.queries)):
        mine = [j for j in range(len(batch.documents)) if batch.owners[j] == i and not math.isnan(batch.scores[j])]
        if len(mine) < 2:
            continue
        rows += 1
        wanted = [math.exp(float(batch.scores[j]) / teacher_temperature) for j in mine]
        logits = [similarity(kind, batch.queries[i], batch.documents[j]) / temperature for j in mine]
        top = max(float(logit.detach()) for logit in logits)  # so that nothing overflows
        partition = torch.log(sum(torch.exp(logit - top) for logit in logits))
        for one, logit in zip(wanted, logits, strict=True):
            share = one / sum(wanted)
            total = total + share * (math.log(share) - (logit - top - partition))
    return total / max(rows, 1)


def agrees(module: torch.nn.Module, definition: Callable[[Batch], Tensor], batch: Batch) -> Outcome:
    """Value and gradients of a loss are those of its definition. Returns the outcome."""
    values, gradients = [], []
    for function in (lambda b: module(b).loss, definition):
        queries, documents = (t.clone().requires_grad_() for t in (batch.queries, batch.documents))
        loss = function(replace(batch, queries=queries, documents=documents))
        loss.backward()
        values.append(loss.detach())
        gradients.append([torch.zeros_like(t) if t.grad is None else t.grad for t in (queries, documents)])
    torch.testing.assert_close(values[0], values[1], rtol=1e-9, atol=1e-11)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)
    return module(batch)
