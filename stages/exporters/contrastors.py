"""contrastors (Nomic): `data/shard-00000.jsonl.gz` …, `data/counts.json`, `data/offsets.json.gz` and `input.yaml`.

Its loader seeks in the unpacked shards, so the offsets count bytes: its own script counts characters, which fails for any
other text than ASCII. It finds them by the end of a shard's path: its last four parts where it has six or more between
slashes, else its last three. So both keys are there; they follow from `location`, which must say where the shards will be.
A batch must not outgrow a shard, and every row needs as many negatives as the trainer takes: it says so for neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from stages.exporters._common import Row, Summary, Texts, dumps, export
from stages.exporters._contrastors_index import indexed, write_index
from stages.exporters._gzip import Shards
from stages.exporters._parquet import id_rows
from stages.exporters._rows import IDS, Example, examples, scores_of
from stages.registry import Member
from stages.spec import Source

CHECKED = {"contrastors": "commit 613ddfd"}
LOADER = "json"


class Contrastors(Member):
    """One row for each query and positive, with its first negatives; a pair that has fewer is left out."""

    negatives: int = Field(5, ge=1, description="negatives in each row; the trainer's `num_negatives` is at most this")
    rows_per_shard: int = Field(100_000, ge=1, description="rows in one shard; the global batch must be smaller")
    location: str = Field(
        "exports/contrastors/data",
        pattern=r"^[^{}\n]*[^/{}\n]+/[^/{}\n]+/[^/{}\n]+$",
        description="folder or s3:// URL where the shards will be; its last three parts are in the keys",
    )
    scores: bool = Field(
        False,
        description="add `document_score` and `negatives_scores` for `kd_loss`; pairs with one missing are left out",
    )
    query_prefix: str = Field("search_query", description="prefix of queries; empty for none")
    document_prefix: str = Field("search_document", description="prefix of documents, where there is one of queries")

    def write(self, triplets: Source, texts: Texts, folder: Path) -> Summary:
        """Writes the target into the new `folder`. Raises InputError for a text that no trainer takes, YieldError for no rows."""

        def write(left_out: Counter[str]) -> tuple[int, tuple[str, ...]]:
            (folder / "data").mkdir()
            shards = Shards(folder / "data", self.rows_per_shard)
            with id_rows(folder, IDS) as sidecar:
                for batch in examples(triplets, texts, left_out, per_pair=True):
                    kept = [cut for example in batch if (cut := self._cut(example, left_out))]
                    for example in kept:
                        shards.write(dumps(self._line(example)).encode() + b"\n")
                    sidecar.write(pa.Table.from_pylist([example.ids() for example in kept], schema=IDS))
            names = shards.close()
            if not names:
                return 0, ()
            return sum(map(len, shards.offsets)), (*names, *self._describe(folder, shards.offsets))

        return export(self, CHECKED, folder, triplets, write)

    def _cut(self, example: Example, left_out: Counter[str]) -> Example | None:
        if len(example.negatives) < self.negatives:
            left_out["pairs_with_too_few_negatives"] += 1
            left_out["negatives_of_pairs_with_too_few"] += len(example.triplets)
            return None
        cut = example._replace(negatives=example.negatives[: self.negatives])
        if self.scores and not cut.scored:
            left_out["pairs_with_a_score_missing"] += 1
            left_out["negatives_of_pairs_with_a_score_missing"] += len(example.triplets)
            return None
        left_out["negatives_beyond_those_asked_for"] += example.missing(*cut.positives, *cut.negatives)
        return cut

    def _line(self, example: Example) -> dict[str, Any]:
        line: dict[str, Any] = {
            "query": example.query,
            "document": example.positives[0].text,
            "negatives": [d.text for d in example.negatives],
            "metadata": {"objective": {"self": [], "paired": [], "triplet": [["query", "document", "negatives"]]}},
        }
        if self.scores:
            line["document_score"] = example.positives[0].score
            line["negatives_scores"] = [d.score for d in example.negatives]
        return line

    def _describe(self, folder: Path, shards: list[list[tuple[int, int]]]) -> tuple[str, ...]:
        write_index(folder / "data", self.location, shards)
        bucket = f"{self.location}/shard-{{00000..{len(shards) - 1:05d}}}.jsonl.gz"
        objective = {"type": "triplet", "columns": ["query", "document", "negatives"]}
        described: dict[str, Any] = {"name": "hardrock", "bucket": bucket, "objective": objective}
        if self.query_prefix:
            described |= {"query_prefix": self.query_prefix, "document_prefix": self.document_prefix}
        if self.scores:
            described["kd_loss"] = True
        (folder / "input.yaml").write_text(dumps({"datasets": [described]}, indent=2) + "\n", "utf-8")  # JSON is YAML
        return "data/counts.json", "data/offsets.json.gz", "input.yaml"

    def load(self, folder: Path) -> Iterator[Row]:
        """Every row, found by its offsets."""
        for row in indexed(folder / "data"):
            labels = (row["document_score"], *row["negatives_scores"]) if self.scores else ()
            yield Row(row["query"], (row["document"],), tuple(row["negatives"]), labels)

    def labels(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        """The scores that a row of `ids.parquet` calls for."""
        return scores_of(row) if self.scores else ()
