"""What the two formats of ms-swift share: conversations, of which a document's role and the positives of a row differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from stages.exporters._common import Row
from stages.exporters._lines import Lines
from stages.exporters._rows import Example, load_lines

CHECKED = {"ms-swift": "4.6.0"}


class Swift(Lines):
    """Base of both. A query and its documents are conversations of one message, of the query with its instruction."""

    role: ClassVar[str]  # of a document
    prompts: bool = Field(False, description="make a system message of each query's own prompt; empty ones make none")

    def _line(self, example: Example, left_out: Counter[str]) -> dict[str, Any]:
        system = [{"role": "system", "content": example.prompt}] if self.prompts and example.prompt else []
        return {
            "messages": [*system, {"role": "user", "content": example.query}],
            "positive_messages": [[{"role": self.role, "content": d.text}] for d in example.positives],
            "negative_messages": [[{"role": self.role, "content": d.text}] for d in example.negatives],
        }

    def load(self, folder: Path) -> Iterator[Row]:
        """Every row as the builder of its data set holds it."""
        return load_lines(folder, _row)

    def instruction(self, prompt: str) -> str:
        """A query's own prompt as it is beside the query."""
        return prompt if self.prompts else ""


def _row(row: Mapping[str, Any]) -> Row:
    *system, query = row["messages"]
    positives, negatives = (tuple(one[-1]["content"] for one in row[f"{k}_messages"]) for k in ("positive", "negative"))
    return Row(query["content"], positives, negatives, prompt=system[0]["content"] if system else "")
