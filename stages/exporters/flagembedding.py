"""FlagEmbedding (BGE) embedders: `data/train.jsonl`, one object a query: `query`, `pos`, `neg`.

What its loader does not say, and what follows from it here:

* It divides by the number of negatives, so every row has at least one; with fewer than its `train_group_size` - 1 it repeats them.
* It reads only names that end in `.jsonl` or `.json`, others it skips without a word; so the file is plain. It reads every
  such file of a folder, so `export.json` is outside of `data/`.
* Where a field is missing in one row it becomes null in all, and a null prompt becomes the text "None"; so a row has the
  same fields as every other.
* It splits a bare string into characters, so lists are lists, even of one.
* It guesses types: where all texts of a field, within ten megabytes, look like dates it makes dates of them; such data is
  refused.
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


class Flagembedding(Member):
    """One row for each query: all its positives and all its negatives, each document once."""

    scores: bool = Field(
        False,
        description="add `pos_scores` and `neg_scores` for its `knowledge_distillation`; queries with a score missing are left out",
    )
    prompts: bool = Field(
        False,
        description="add `prompt`, empty for a query without one; used only where its `query_instruction_for_retrieval` is set",
    )

    def write(self, triplets: Source, texts: Texts, folder: Path) -> Summary:
        """Writes the target into the new `folder`. Raises InputError for a text that no trainer takes, YieldError for no rows."""
        return export_lines(self, CHECKED, triplets, texts, folder, line=self._line)

    def _line(self, example: Example, left_out: Counter[str]) -> dict[str, Any] | None:
        line = scored_line(example, self.scores, left_out)
        return line | {"prompt": example.prompt} if line and self.prompts else line

    def load(self, folder: Path) -> Iterator[Row]:
        """Every row as its data set of the embedder holds it."""
        from FlagEmbedding.abc.finetune.embedder import AbsEmbedderDataArguments, AbsEmbedderTrainDataset

        cache = scratch()
        asked = AbsEmbedderDataArguments(
            train_data=[str(folder / FILE)], cache_path=cache, knowledge_distillation=self.scores
        )
        for row in AbsEmbedderTrainDataset(asked, None).dataset:
            yield Row(row["query"], tuple(row["pos"]), tuple(row["neg"]))
