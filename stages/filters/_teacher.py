"""What rules over a teacher's scores share."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from stages.judging import Candidates, Labels, Taught
from stages.registry import Member

CROSS_ENCODERS = ("cross_encoder", "onnx_cross_encoder")


def unscored_field() -> Literal["drop", "keep"]:
    """What becomes of a candidate without a teacher's score."""
    field: Literal["drop", "keep"] = Field(
        "drop",
        description="a candidate without a score, such as one beyond teach.depth: drop it, for it cannot be told; "
        "or keep it, which lets false negatives through",
    )
    return field


class OfTeacher(Member):
    """A rule over the scores of one teacher. Without the positive's score a rule that needs it drops, whatever `unscored` says."""

    teacher: str | None = Field(None, description="the teacher's label; none is the first one of the rule's kind")
    unscored: Literal["drop", "keep"] = unscored_field()

    def taught(self, candidates: Candidates, kinds: tuple[str, ...] = ()) -> tuple[str, Taught]:
        """The teacher's title and what it says."""
        found = candidates.teacher(self.teacher, kinds)
        return next(title for title, each in candidates.teachers.items() if each is found), found

    def labels(self, passes: np.ndarray, score: np.ndarray, value: np.ndarray, limit: np.ndarray) -> Labels:
        """Labels where `passes`, bool (n,), holds for candidates with a score; the others as `unscored` says."""
        return Labels(np.where(np.isnan(score), self.unscored == "drop", ~passes), value, limit)
