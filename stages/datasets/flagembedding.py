"""FlagEmbedding's JSONL: `{"query": "…", "pos": ["…"], "neg": ["…"], "prompt"?: "…"}`.

`pos` has at least one text, `neg` may be empty or missing; its texts are documents judged not relevant. A text instead of a
list is a list of one. `prompt` becomes the query's own prompt. `pos_scores` and `neg_scores` have a number for each text, or the
row is refused; the scores themselves, `type` and other keys are not used.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from stages.datasets._examples import Columns, Examples
from stages.datasets._guess import Guess
from stages.datasets._helpers import File
from stages.datasets._tables import files_at, first_row
from stages.errors import HardrockError
from stages.records import Note
from stages.settings import speed

SUFFIXES = (".jsonl", ".json")
SCORES = ("pos_scores", "neg_scores")


class Flagembedding(Examples):
    """Query, positives and negatives of FlagEmbedding's embedder and reranker."""

    path: str = speed(..., "A file, or a folder of files: .jsonl or .json. Its content is part of a result's identity.")

    def notes(self) -> Iterator[Note]:
        """The keys that are not read."""
        read = set(self.columns.read) - set(SCORES)
        left = [key for key in first_row(self.files[0]) if key not in read]
        if left:
            yield Note(f"{', '.join(left)}: not read; a teacher's scores are made by the stage teach")

    @cached_property
    def files(self) -> list[File]:
        return files_at(self.path, SUFFIXES)

    @property
    def columns(self) -> Columns:
        return Columns("query", "pos", ("neg",), prompt="prompt", scores=SCORES)

    def known_columns(self, file: File) -> list[str]:
        """Each row is checked by itself."""
        return list(self.columns.needed)


def recognise(place: str) -> Guess | None:
    """JSON lines with query and pos."""
    if not Path(place).exists():
        return None
    try:
        keys = first_row(files_at(place, SUFFIXES)[0])
    except HardrockError:
        return None
    if not {"query", "pos"} <= set(keys):
        return None
    return Guess(60, {"path": place}, ("its first row has query and pos",))
