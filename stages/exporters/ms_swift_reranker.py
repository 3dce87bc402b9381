"""ms-swift rerankers: `data/train.jsonl` of `messages`, `positive_messages` and `negative_messages`.

Documents have the role `assistant`, and a query may have several positives; a query's own prompt can be a system message.
`MAX_NEGATIVE_SAMPLES`, 7 where it is not set, is how many negatives it takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from stages.exporters._common import Row, Summary, Texts
from stages.exporters._rows import Example, export_lines, load_lines
from stages.registry import Member
from stages.spec import Source

CHECKED = {"ms-swift": "4.6.0"}
LOADER = "datasets"


class MsSwiftReranker(Member):
    """One row for each query, with all its positives and negatives."""

    prompts: bool = Field(False, description="make a system message of each query's own prompt; empty ones make none")

    def write(self, triplets: Source, texts: Texts, folder: Path) -> Summary:
        """Writes the target into the new `folder`. Raises InputError for a text that no trainer takes, YieldError for no rows."""
        return export_lines(self, CHECKED, triplets, texts, folder, line=self._line)

    def _line(self, example: Example, left_out: Counter[str]) -> dict[str, Any]:
        system = [{"role": "system", "content": example.prompt}] if self.prompts and example.prompt else []
        return {
            "messages": [*system, {"role": "user", "content": example.query}],
            "positive_messages": [[{"role": "assistant", "content": d.text}] for d in example.positives],
            "negative_messages": [[{"role": "assistant", "content": d.text}] for d in example.negatives],
        }

    def load(self, folder: Path) -> Iterator[Row]:
        """Every row as the builder of its data set holds it."""

        def texts(conversations: Any) -> tuple[str, ...]:
            return tuple(one[-1]["content"] for one in conversations)

        return load_lines(
            folder,
            lambda r: Row(r["messages"][-1]["content"], texts(r["positive_messages"]), texts(r["negative_messages"])),
        )
