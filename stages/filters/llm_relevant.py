"""Drops candidates that a language model calls relevant (RLHN, arXiv 2505.16967).

Evidence: value is the verdict, 1 or 0; limit is 0. What it drops can be promoted. The model is asked only as deep as its
own `depth`, and candidates beyond have no verdict: see `unscored`.
"""

from __future__ import annotations

import numpy as np

from stages.filters._teacher import OfTeacher
from stages.judging import Candidates, Labels


class LlmRelevant(OfTeacher):
    """Keeps a candidate with the verdict 0."""

    def label(self, candidates: Candidates) -> Labels:
        verdict = self.taught(candidates, ("llm",))[1].score
        return self.labels(verdict <= 0, verdict, verdict, np.zeros(len(verdict)))

    def promotes(self, candidates: Candidates) -> tuple[str, np.ndarray]:
        title, taught = self.taught(candidates, ("llm",))
        return title, taught.score > 0
