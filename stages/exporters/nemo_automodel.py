"""NeMo Automodel: `data/train.json` of ids with a corpus folder, or with `inline` `data/train.jsonl` of texts.

With ids it can mask the same document within a batch. The corpus folder holds a `train` split with `id` and `text`, and
`merlin_metadata.json`; `corpus[].path` counts from the file. Every positive of a query that its triplets name is in
`pos_doc`. It repeats negatives where a row has fewer than it wants.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from stages.exporters._common import Row, Texts, dumps
from stages.exporters._lines import Lines
from stages.exporters._parquet import RowGroups
from stages.exporters._pieces import Framed
from stages.exporters._rows import Example, load_lines, loaded

CHECKED = {"nemo-automodel": "0.7.0"}
LOADER = "datasets"
FILE, CORPUS, METADATA = "data/train.json", "corpus/train-00000-of-00001.parquet", "corpus/merlin_metadata.json"
README = "corpus/README.md"
CARD = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: train-*.parquet\n---\n"


class NemoAutomodel(Lines):
    """One row for each query: all its positives and all its negatives, each document once."""

    inline: bool = Field(
        False, description="write the texts in the rows, and no corpus; then nothing is masked by document"
    )
    corpus_id: str = Field("corpus", min_length=1, description="name of the corpus, in its metadata and in every row")

    @property
    def framed(self) -> Framed:
        """Lines of texts, or one document of ids."""
        if self.inline:
            return Framed()
        return Framed(FILE, b'{"corpus": [{"path": "../corpus"}], "data": [\n', b",\n", b"\n]}\n", typed=False)

    @property
    def accompanied(self) -> bool:
        """Whether there is a corpus."""
        return not self.inline

    def _line(self, example: Example, left_out: Counter[str]) -> dict[str, Any]:
        if self.inline:
            pos, neg = ([d.text for d in many] for many in (example.positives, example.negatives))
            return {"question_id": example.id, "query": example.query, "pos_doc": pos, "neg_doc": neg}
        return {
            "question_id": example.id,
            "question": example.query,
            "corpus_id": self.corpus_id,
            "pos_doc": [{"id": d.id} for d in example.positives],
            "neg_doc": [{"id": d.id} for d in example.negatives],
        }

    def others(self, texts: Texts, folder: Path, escaped: Counter[str]) -> tuple[str, ...]:
        """The whole corpus. Raises InputError."""
        (folder / "corpus").mkdir()
        with RowGroups(folder / CORPUS, pa.schema([("id", pa.string()), ("text", pa.string())])) as file:
            for rows in texts.corpus():
                names = texts.doc_ids.take(pa.array(rows)).cast(pa.string())
                file.write(pa.table({"id": names, "text": texts.documents(rows)}))
        metadata = {"class": "TextQADataset", "corpus_id": self.corpus_id}
        (folder / METADATA).write_text(dumps(metadata) + "\n", "utf-8")
        (folder / README).write_text(CARD, "utf-8")
        return CORPUS, METADATA, README

    def beside(self, folder: Path) -> Iterator[tuple[str, str, str]]:
        """Every document of the corpus."""
        if not self.inline:
            yield from (("document", row["id"], row["text"]) for row in loaded("parquet", folder / CORPUS))

    @property
    def whole(self) -> tuple[str, ...]:
        """What is there besides the rows."""
        return () if self.inline else ("document",)

    def load(self, folder: Path) -> Iterator[Row]:
        """Every row with the texts that the corpus has for its ids."""
        if self.inline:
            return load_lines(folder, lambda r: Row(r["query"], tuple(r["pos_doc"]), tuple(r["neg_doc"])))
        return self._by_id(folder)

    def _by_id(self, folder: Path) -> Iterator[Row]:
        corpus = loaded("parquet", folder / CORPUS)
        where = {name: i for i, name in enumerate(corpus["id"])}

        def texts(documents: Any) -> tuple[str, ...]:
            return tuple(corpus[where[d["id"]]]["text"] for d in documents)

        with (folder / FILE).open("rb") as file:
            for row in json.load(file)["data"]:
                yield Row(row["question"], texts(row["pos_doc"]), texts(row["neg_doc"]))
