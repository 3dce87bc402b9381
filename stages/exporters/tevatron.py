"""Tevatron, main: `data/train.jsonl` of ids and `corpus/corpus.jsonl` of texts.

Its documentation names the corpus field `document_text`, but the loader reads `text`, and with the other name every
document is empty, without a word. So the corpus has `docid` and `text`, titles joined in front: training from ids adds
none. Give it as `--dataset_name json --dataset_path data/train.jsonl --corpus_name json --corpus_path corpus/corpus.jsonl`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from stages.exporters._common import Row, Texts, dumps
from stages.exporters._lines import Lines, Types
from stages.exporters._rows import Example, loaded

CHECKED = {"tevatron": "commit dd06310"}
LOADER = "datasets"
CORPUS = "corpus/corpus.jsonl"


class Tevatron(Lines):
    """One row for each query with the ids of its positives and negatives, and the whole corpus."""

    whole: ClassVar[tuple[str, ...]] = ("document",)
    prompts: bool = Field(
        False, description="put a query's own prompt in front of its text; off, `--query_prefix` can add one"
    )

    @property
    def accompanied(self) -> bool:
        """There is a corpus."""
        return True

    def others(self, texts: Texts, folder: Path, escaped: Counter[str]) -> tuple[str, ...]:
        """The whole corpus. Raises InputError."""
        (folder / "corpus").mkdir()
        types = Types(CORPUS)
        with (folder / CORPUS).open("wb") as file:
            for rows in texts.corpus():
                names, found = texts.doc_ids.take(rows).to_pylist(), texts.documents(rows).to_pylist()
                for name, text in zip(names, found, strict=True):
                    line = {"docid": name, "text": text}
                    encoded = dumps(line).encode() + b"\n"
                    types.sees(line, len(encoded))
                    file.write(encoded)
        types.ends()
        return (CORPUS,)

    def _line(self, example: Example, left_out: Counter[str]) -> dict[str, Any]:
        return {
            "query_id": example.id,
            "query_text": (example.prompt if self.prompts else "") + example.query,
            "positive_document_ids": [d.id for d in example.positives],
            "negative_document_ids": [d.id for d in example.negatives],
        }

    @property
    def prompts_in_text(self) -> bool:
        return self.prompts

    def beside(self, folder: Path) -> Iterator[tuple[str, str, str]]:
        """Every document of the corpus."""
        yield from (("document", row["docid"], row["text"]) for row in loaded("json", folder / CORPUS))

    def load(self, folder: Path) -> Iterator[Row]:
        """Every row with the texts that the corpus has for its ids, through the builders that its loader uses."""
        corpus = loaded("json", folder / CORPUS)
        where = {name: i for i, name in enumerate(corpus["docid"])}

        def texts(names: list[str]) -> tuple[str, ...]:
            return tuple(corpus[where[name]]["text"] for name in names)

        for row in loaded("json", folder / "data/train.jsonl"):
            yield Row(row["query_text"], texts(row["positive_document_ids"]), texts(row["negative_document_ids"]))
