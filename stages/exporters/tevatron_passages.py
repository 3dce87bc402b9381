"""Tevatron with texts in the rows, as in MS MARCO passage and RLHN: `positive_passages` and `negative_passages`.

Its reranker fails for a passage without `title`, so every passage has one, empty where the document has none; the
retriever joins title and text itself, so `text` is without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from stages.exporters._common import Row
from stages.exporters._lines import Lines
from stages.exporters._rows import Document, Example, load_lines
from stages.text import join_title

CHECKED = {"tevatron": "commit dd06310", "rlhn": "commit fa28a16"}
LOADER = "datasets"


class TevatronPassages(Lines):
    """One row for each query with the passages of its positives and negatives."""

    titles_apart: ClassVar[tuple[str, ...]] = ("load",)
    subset: str = Field("", description="text of `subset` in every row, as RLHN has it; empty for no such field")

    def _line(self, example: Example, left_out: Counter[str]) -> dict[str, Any]:
        line: dict[str, Any] = {
            "query_id": example.id,
            "query": example.query,
            "positive_passages": [_passage(d) for d in example.positives],
            "negative_passages": [_passage(d) for d in example.negatives],
        }
        return line | {"subset": self.subset} if self.subset else line

    def load(self, folder: Path) -> Iterator[Row]:
        """Every row as the builder of its data set holds it, titles joined."""

        def texts(passages: Any) -> tuple[str, ...]:
            return tuple(join_title(p["title"], p["text"]) for p in passages)

        return load_lines(
            folder, lambda r: Row(r["query"], texts(r["positive_passages"]), texts(r["negative_passages"]))
        )


def _passage(document: Document) -> dict[str, str]:
    return {"docid": document.id, "title": document.title, "text": document.body}
