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

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from stages.exporters._flag import CHECKED, Flag
from stages.exporters._rows import Example

__all__ = ["CHECKED", "LOADER", "Flagembedding"]
LOADER = "FlagEmbedding"


class Flagembedding(Flag):
    """One row for each query: all its positives and all its negatives, each document once."""

    prompts: bool = Field(
        False,
        description="add `prompt`, empty for a query without one; used only where its `query_instruction_for_retrieval` is set",
    )

    def _asks(self, example: Example) -> dict[str, str]:
        return {"prompt": example.prompt} if self.prompts else {}

    def _data_set(self, **given: Any) -> Any:
        from FlagEmbedding.abc.finetune.embedder import AbsEmbedderDataArguments, AbsEmbedderTrainDataset

        return AbsEmbedderTrainDataset(AbsEmbedderDataArguments(**given), None)

    def _prompt(self, row: Mapping[str, Any]) -> str:
        return str(row["prompt"]) if self.prompts else ""

    def instruction(self, prompt: str) -> str:
        """A query's own prompt as it is beside the query."""
        return prompt if self.prompts else ""
