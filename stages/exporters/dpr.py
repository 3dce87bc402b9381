"""DPR: `data/train.json`, an array with `question`, `answers`, `positive_ctxs`, `negative_ctxs` and `hard_negative_ctxs`.

The mined negatives are `hard_negative_ctxs`; `negative_ctxs`, its random ones, are empty. A context has a `title`, empty
where the document has none, its `text` without the title, a `score` where one is known, and `passage_id`.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from stages.exporters._common import Row
from stages.exporters._lines import Lines
from stages.exporters._pieces import Framed
from stages.exporters._rows import Document, Example, scores_of
from stages.text import join_title

CHECKED = {"dpr": "commit a31212d"}
LOADER = "json"
FILE = "data/train.json"


class Dpr(Lines):
    """One row for each query: all its positives and all its negatives, each document once."""

    titles_apart: ClassVar[tuple[str, ...]] = ("load",)

    @property
    def framed(self) -> Framed:
        """One array."""
        return Framed(FILE, b"[\n", b",\n", b"\n]\n", typed=False)

    def _line(self, example: Example, left_out: Counter[str]) -> dict[str, Any]:
        return {
            "question": example.query,
            "answers": [],
            "positive_ctxs": [_context(d) for d in example.positives],
            "negative_ctxs": [],
            "hard_negative_ctxs": [_context(d) for d in example.negatives],
        }

    def load(self, folder: Path) -> Iterator[Row]:
        """Every row of the array, titles joined."""

        def texts(contexts: Any) -> tuple[str, ...]:
            return tuple(join_title(c["title"], c["text"]) for c in contexts)

        with (folder / FILE).open("rb") as file:
            for row in json.load(file):
                both = (row["positive_ctxs"], row["hard_negative_ctxs"])
                labels = tuple(context["score"] for contexts in both for context in contexts if "score" in context)
                yield Row(row["question"], texts(both[0]), texts(both[1]), labels)

    def labels(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        """The scores that a row of `ids.parquet` calls for: those that are known."""
        return tuple(score for score in scores_of(row) if score is not None and math.isfinite(score))


def _context(document: Document) -> dict[str, Any]:
    context = {"title": document.title, "text": document.body, "passage_id": document.id}
    return context | {"score": document.score} if document.finite else context
