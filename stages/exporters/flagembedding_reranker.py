"""FlagEmbedding (BGE) rerankers: `data/train.jsonl` as for the embedder, with the prompts that rerankers take.

Its data set of rerankers reads `query`, `pos` and `neg`, and of prompts `query_prompt` and `passage_prompt` instead of
`prompt`, which is the task of the rerankers that are language models. A field is in every row or in none, as there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from stages.exporters._common import Row, Summary, Texts
from stages.exporters._rows import FILE, Example, export_lines, scored_line, scratch
from stages.registry import Member
from stages.spec import Source

CHECKED = {"FlagEmbedding": "1.4.2", "datasets": "5.2.0"}
LOADER = "FlagEmbedding"


class FlagembeddingReranker(Member):
    """One row for each query: all its positives and all its negatives, each document once."""

    scores: bool = Field(
        False,
        description="add `pos_scores` and `neg_scores` for its `knowledge_distillation`; queries with a score missing are left out",
    )
    prompts: bool = Field(
        False, description="add `query_prompt`, a query's own or empty, and an empty `passage_prompt`"
    )
    task: str = Field(
        "", description="text of `prompt` in every row, for rerankers that are language models; empty for none"
    )

    def write(self, triplets: Source, texts: Texts, folder: Path) -> Summary:
        """Writes the target into the new `folder`. Raises InputError for a text that no trainer takes, YieldError for no rows."""
        return export_lines(self, CHECKED, triplets, texts, folder, line=self._line)

    def _line(self, example: Example, left_out: Counter[str]) -> dict[str, Any] | None:
        line = scored_line(example, self.scores, left_out)
        if line and self.prompts:
            line |= {"query_prompt": example.prompt, "passage_prompt": ""}
        return line | {"prompt": self.task} if line and self.task else line

    def load(self, folder: Path) -> Iterator[Row]:
        """Every row as its data set of the reranker holds it."""
        from FlagEmbedding.abc.finetune.reranker import AbsRerankerDataArguments, AbsRerankerTrainDataset

        cache = scratch()
        asked = AbsRerankerDataArguments(
            train_data=[str(folder / FILE)], cache_path=cache, knowledge_distillation=self.scores
        )
        for row in AbsRerankerTrainDataset(asked, None).dataset:
            yield Row(row["query"], tuple(row["pos"]), tuple(row["neg"]))
