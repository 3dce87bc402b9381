"""A student's similarities beside a teacher's scores. Importing this file imports torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.errors import ConfigError
from stages.losses._directions import are_positives
from stages.objectives import Batch, Outcome


class _Distillation(nn.Module):
    """Holds what a teacher says of each document for its row's query against what the student says."""

    def __init__(self, similarity: str) -> None:
        super().__init__()
        self.similarity = similarity

    def forward(self, batch: Batch) -> Outcome:
        """The loss over what the teacher scored; nothing is masked. Raises ConfigError without a teacher's scores."""
        if batch.scores is None:
            raise ConfigError(
                "a loss that distils has no teacher's scores",
                where="train.loss",
                try_="[teach.teachers.cross_encoder] with a model",
            )
        with torch.autocast(batch.queries.device.type, enabled=False):
            precision = torch.promote_types(batch.queries.dtype, torch.float32)
            queries, documents = batch.queries.to(precision), batch.documents.to(precision)
            if self.similarity == "cosine":
                queries, documents = functional.normalize(queries, dim=-1), functional.normalize(documents, dim=-1)
            similarities = (queries[batch.owners] * documents).sum(dim=1)  # (M,)
            loss = self.distil(similarities, batch.scores.double(), batch)
        return Outcome(loss, torch.zeros((), dtype=torch.float64, device=loss.device))

    def distil(self, similarities: Tensor, scores: Tensor, batch: Batch) -> Tensor:
        """From the student's similarities float (M,) and the teacher's scores float64 (M,), NaN where there is none."""
        raise NotImplementedError


class MarginMseModule(_Distillation):
    """The squared difference of the student's and the teacher's margins, mean over all scored pairs of a batch."""

    def __init__(self, similarity: str, scale: float) -> None:
        super().__init__(similarity)
        self.scale = scale

    def distil(self, similarities: Tensor, scores: Tensor, batch: Batch) -> Tensor:
        own = batch.positives[batch.owners]  # the positive of each document's row, (M,)
        wanted = scores[own] - scores
        used = wanted.isfinite() & ~are_positives(batch)
        margins = self.scale * (similarities[own] - similarities)
        errors = (margins - wanted.to(margins.dtype)).masked_fill(~used, 0)
        return errors.square().sum() / used.sum().clamp(min=1)


class KlModule(_Distillation):
    """KL(teacher ‖ student) over the scored documents of each row, mean over the rows that have two or more."""

    def __init__(self, similarity: str, temperature: float, teacher_temperature: float) -> None:
        super().__init__(similarity)
        self.temperature, self.teacher_temperature = temperature, teacher_temperature

    def distil(self, similarities: Tensor, scores: Tensor, batch: Batch) -> Tensor:
        order = batch.owners.argsort(stable=True)
        rows = batch.owners[order]
        counts = (batch.owners == torch.arange(len(batch.queries), device=rows.device).unsqueeze(1)).sum(dim=1)  # (B,)
        places = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
        shape = len(counts), int(counts.max())
        student = similarities.new_zeros(shape).index_put((rows, places), similarities[order] / self.temperature)
        teacher = scores.new_full(shape, torch.nan).index_put((rows, places), scores[order] / self.teacher_temperature)
        scored = teacher.isfinite()
        used = scored.sum(dim=1, keepdim=True) > 1
        scored = scored & used  # rows without two are filled with zeros: their terms are left out, and are no NaN
        wanted = teacher.masked_fill(~scored, -torch.inf).masked_fill(~used, 0).log_softmax(dim=1)  # (B, n)
        found = student.masked_fill(~scored, -torch.inf).masked_fill(~used, 0).log_softmax(dim=1)
        wanted, found = wanted.masked_fill(~scored, 0).to(found.dtype), found.masked_fill(~scored, 0)
        terms = wanted.exp() * (wanted - found)
        return terms.masked_fill(~scored, 0).sum() / used.sum().clamp(min=1)
