"""PyLate, knowledge distillation: configurations `train` (query_id, document_ids, scores), `queries` and `documents`.

All rows have equally many documents, the positive first; one that has fewer is left out. A document that is missing would be
the empty string there, with a warning only: all that are named are in `documents`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from stages.exporters._card import card
from stages.exporters._common import Row, Texts
from stages.exporters._parquet import RowGroups
from stages.exporters._pieces import Batches, Files
from stages.exporters._rows import IDS, examples, loaded, scores_of, single
from stages.spec import Source

CHECKED = {"pylate": "1.6.0"}
LOADER = "datasets"
DATA = pa.schema(
    [("query_id", pa.string()), ("document_ids", pa.list_(pa.string())), ("scores", pa.list_(pa.float32()))]
)
FILES = {name: f"{name}/train-00000-of-00001.parquet" for name in ("queries", "documents")}
SAYS = "# Knowledge distillation for PyLate\n\nMade with Hardrock. `scores` lists a score for each of `document_ids`."


class PylateKd(Files):
    """Rows of a query, 1 + n documents and their scores, one for each query and positive that has n."""

    whole: ClassVar[tuple[str, ...]] = ("document", "query")
    negatives: int = Field(5, ge=1, description="negatives in each row; more leaves out more pairs")

    @property
    def data(self) -> pa.Schema:
        """The columns that the trainer reads, in order."""
        return DATA

    @property
    def sidecar(self) -> pa.Schema:
        """The columns of `ids.parquet`."""
        return IDS

    @property
    def accompanied(self) -> bool:
        """There are the other two configurations."""
        return True

    def others(self, texts: Texts, folder: Path, escaped: Counter[str]) -> tuple[str, ...]:
        """The other two configurations, and the card. Raises InputError."""
        for name, (ids, blocks) in {
            "queries": (texts.query_ids, ((r, texts.anchors(r, prompts=False)) for r in texts.asked())),
            "documents": (texts.doc_ids, ((r, texts.documents(r)) for r in texts.corpus())),
        }.items():
            key = {"queries": "query_id", "documents": "document_id"}[name]
            (folder / name).mkdir()
            with RowGroups(folder / FILES[name], pa.schema([(key, pa.string()), ("text", pa.string())])) as file:
                for taken, found in blocks:
                    file.write(pa.table({key: ids.take(pa.array(taken)).cast(pa.string()), "text": found}))
        configs = {"train": "data/train-*.parquet", **{n: f"{n}/train-*.parquet" for n in FILES}}
        described = card({name: {"train": path} for name, path in configs.items()}, SAYS, default="train")
        (folder / "README.md").write_text(described, "utf-8")
        return (*FILES.values(), "README.md")

    def _batches(self, triplets: Source, texts: Texts, left_out: Counter[str]) -> Batches:
        for batch in examples(triplets, texts, left_out, per_pair=True):
            rows, ids = [], []
            for example in batch:
                cut = example._replace(negatives=example.negatives[: self.negatives])
                if len(cut.negatives) < self.negatives or not cut.scored:
                    few = len(cut.negatives) < self.negatives
                    reason = "pairs_with_too_few" if few else "pairs_with_a_score_missing"
                    left_out[f"{reason}_negatives" if few else reason] += 1
                    left_out[f"negatives_of_{reason}"] += len(example.triplets)
                    continue
                left_out["negatives_beyond_those_asked_for"] += example.missing(*cut.positives, *cut.negatives)
                documents = (*cut.positives, *cut.negatives)
                names, scores = [d.id for d in documents], [d.score for d in documents]
                rows.append({"query_id": cut.id, "document_ids": names, "scores": scores})
                ids.append(cut.ids())
            yield pa.Table.from_pylist(rows, schema=DATA), pa.Table.from_pylist(ids, schema=IDS)

    def load(self, folder: Path) -> Iterator[Row]:
        """Every row with the texts that the other two configurations have for its ids."""
        queries, documents = (loaded("parquet", folder / FILES[name]) for name in ("queries", "documents"))
        asked, where = ({name: i for i, name in enumerate(one[key])} for one, key in
                        ((queries, "query_id"), (documents, "document_id")))  # fmt: skip
        for row in loaded("parquet", *sorted((folder / "data").glob("*.parquet"))):
            first, *others = (documents[where[name]]["text"] for name in row["document_ids"])
            yield Row(queries[asked[row["query_id"]]]["text"], (first,), tuple(others), tuple(row["scores"]))

    def labels(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        """The scores that a row of `ids.parquet` calls for."""
        return single(scores_of(row))

    def beside(self, folder: Path) -> Iterator[tuple[str, str, str]]:
        """Every document and query of the other two configurations."""
        for kind, name in (("document", "documents"), ("query", "queries")):
            yield from ((kind, row[f"{kind}_id"], row["text"]) for row in loaded("parquet", folder / FILES[name]))
