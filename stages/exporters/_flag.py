"""What the two formats of FlagEmbedding share: lines of `query`, `pos`, `neg` and scores, read by its own data sets."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from stages.exporters._common import Row
from stages.exporters._lines import Lines
from stages.exporters._rows import FILE, Example, scored_line, scores_of, scratch

CHECKED = {"FlagEmbedding": "1.4.2", "datasets": "5.2.0"}


class Flag(Lines):
    """Base of both. A row has the same fields as every other."""

    scores: bool = Field(
        False,
        description="add `pos_scores` and `neg_scores` for its `knowledge_distillation`; queries with a score missing are left out",
    )

    def _line(self, example: Example, left_out: Counter[str]) -> dict[str, Any] | None:
        line = scored_line(example, self.scores, left_out)
        return line | self._asks(example) if line else None

    @abstractmethod
    def _asks(self, example: Example) -> dict[str, str]:
        """Its fields of prompts."""

    @abstractmethod
    def _data_set(self, **given: Any) -> Any:
        """Its own data set with these arguments."""

    @abstractmethod
    def _prompt(self, row: Mapping[str, Any]) -> str:
        """The query's own prompt in a row."""

    def load(self, folder: Path) -> Iterator[Row]:
        """Every row as its data set holds it."""
        files = [str(folder / FILE)]
        found = self._data_set(train_data=files, cache_path=scratch(), knowledge_distillation=self.scores)
        for row in found.dataset:
            labels = (*row["pos_scores"], *row["neg_scores"]) if self.scores else ()
            yield Row(row["query"], tuple(row["pos"]), tuple(row["neg"]), labels, self._prompt(row))

    def labels(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        """The scores that a row of `ids.parquet` calls for."""
        return scores_of(row) if self.scores else ()
