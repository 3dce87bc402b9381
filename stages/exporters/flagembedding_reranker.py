"""FlagEmbedding (BGE) rerankers: `data/train.jsonl` as for the embedder, with the prompts that rerankers take.

Its data set of rerankers reads `query`, `pos` and `neg`, and of prompts `query_prompt` and `passage_prompt` instead of
`prompt`, which is the task of the rerankers that are language models. A field is in every row or in none, as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from stages.exporters._flag import CHECKED, Flag
from stages.exporters._rows import Example

__all__ = ["CHECKED", "LOADER", "FlagembeddingReranker"]
LOADER = "FlagEmbedding"


class FlagembeddingReranker(Flag):
    """One row for each query: all its positives and all its negatives, each document once."""

    prompts: bool = Field(
        False, description="add `query_prompt`, a query's own or empty, and an empty `passage_prompt`"
    )
    task: str = Field(
        "", description="text of `prompt` in every row, for rerankers that are language models; empty for none"
    )

    def _asks(self, example: Example) -> dict[str, str]:
        prompts = {"query_prompt": example.prompt, "passage_prompt": ""} if self.prompts else {}
        return prompts | ({"prompt": self.task} if self.task else {})

    def _data_set(self, **given: Any) -> Any:
        from FlagEmbedding.abc.finetune.reranker import AbsRerankerDataArguments, AbsRerankerTrainDataset

        return AbsRerankerTrainDataset(AbsRerankerDataArguments(**given), None)

    def _prompt(self, row: Mapping[str, Any]) -> str:
        return str(row["query_prompt"]) if self.prompts else ""

    def instruction(self, prompt: str) -> str:
        """A query's own prompt as it is beside the query."""
        return prompt if self.prompts else ""
