"""GritLM: `data/train.jsonl`, one object a query: `query`, `pos`, `neg`, each text alone or as [instruction, text].

Its collator divides by the number of negatives, so every row has one at least; the shape is the same in all rows. A row
with `text` would be read as generative data, so there is none. For embedding alone, give its `mode` as "embedding".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from stages.exporters._common import Row
from stages.exporters._lines import Lines
from stages.exporters._rows import Example, load_lines

CHECKED = {"gritlm": "commit 9710681"}
LOADER = "datasets"


class Gritlm(Lines):
    """One row for each query: all its positives and all its negatives, each document once."""

    instructions: bool = Field(
        False, description="write [instruction, text], with a query's own prompt or an empty one"
    )

    def _line(self, example: Example, left_out: Counter[str]) -> dict[str, Any]:
        pos, neg = ([d.text for d in many] for many in (example.positives, example.negatives))
        if not self.instructions:
            return {"query": example.query, "pos": pos, "neg": neg}
        return {
            "query": [example.prompt.strip(), example.query],
            "pos": [["", text] for text in pos],
            "neg": [["", text] for text in neg],
        }

    def load(self, folder: Path) -> Iterator[Row]:
        """Every row as the builder of its data set holds it."""

        def text(value: Any) -> str:
            return str(value[-1] if self.instructions else value)

        return load_lines(
            folder,
            lambda r: Row(
                text(r["query"]),
                tuple(map(text, r["pos"])),
                tuple(map(text, r["neg"])),
                prompt=r["query"][0] if self.instructions else "",
            ),
        )

    def instruction(self, prompt: str) -> str:
        """A query's own prompt as it is beside the query."""
        return prompt.strip() if self.instructions else ""
