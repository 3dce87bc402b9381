"""Drops candidates that several models find as relevant as the positive.

Each model votes by its own scores: a candidate is suspect when it is not below the positive by the margin. Encoders and
cross-encoders count alike; a language model's vote is its verdict. With `retriever` the model that mined votes too, so
that one teacher and two votes are the agreement of encoder and cross-encoder. A model that cannot tell votes as
`unscored` says, and against the candidate where it is the positive that has no score. Evidence: value is the number of
votes against the candidate, limit the number that drops.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from stages.errors import ConfigError
from stages.filters._teacher import unscored_field
from stages.judging import Candidates, Labels, Taught
from stages.registry import Member


class Consensus(Member):
    """Keeps a candidate with fewer than `votes` votes against it: t > p − |p| · margin is one."""

    votes: int = Field(2, ge=1, description="votes that drop a candidate; fewer drops more of both kinds")
    margin: float = Field(
        0.05, ge=0, allow_inf_nan=False, description="share of the positive's score; more makes each model stricter"
    )
    teachers: tuple[str, ...] = Field((), description="labels of the teachers that vote; none is all of them")
    retriever: bool = Field(True, description="whether the scores that the candidates were mined with vote too")
    unscored: Literal["drop", "keep"] = unscored_field()

    def label(self, candidates: Candidates) -> Labels:
        voters = [candidates.teacher(title) for title in self.teachers or candidates.teachers]
        if not voters or self.votes > len(voters) + self.retriever:
            raise ConfigError(
                "there are fewer models than votes are needed",
                where="filters.consensus",
                got=f"votes = {self.votes}; teachers: {len(voters)}; retriever = {str(self.retriever).lower()}",
                try_="more teachers in teach.teachers, or fewer votes",
            )
        against = np.zeros(len(candidates.query_row))
        for taught in voters:
            against += self._vote(taught)
        if self.retriever:
            against += self._suspect(candidates.score, candidates.positive_score)
        return Labels(against >= self.votes, against, np.full(len(against), float(self.votes)))

    def _vote(self, taught: Taught) -> np.ndarray:
        """Whether a teacher is against each candidate: bool (n,)."""
        votes = taught.score > 0 if taught.kind == "llm" else self._suspect(taught.score, taught.positive)
        return np.where(np.isnan(taught.score), self.unscored == "drop", votes)

    def _suspect(self, score: np.ndarray, positive: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            below: np.ndarray = np.isfinite(score) & (score <= positive - np.abs(positive) * self.margin)
        return ~below
