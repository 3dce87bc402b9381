"""Ids alone, in the manner of msmarco-hard-negatives: `data/train.jsonl.gz` with `qid`, `pos` and `neg` by system.

Its scores are a pickled dictionary, which runs code when it is opened; here they are `scores.parquet`: qid, docid, score.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from stages.exporters._common import Row, Summary, Texts, dumps, export
from stages.exporters._gzip import zipped
from stages.exporters._parquet import RowGroups, id_rows
from stages.exporters._rows import IDS, examples, scores_of
from stages.registry import Member
from stages.spec import Source

CHECKED = {"msmarco-hard-negatives": "data set card"}
LOADER = "json"
FILE, SCORES = "data/train.jsonl.gz", "scores.parquet"
SCHEMA = pa.schema([("qid", pa.string()), ("docid", pa.string()), ("score", pa.float64())])


class MsmarcoHardNegatives(Member):
    """One row for each query: ids of its positives and of its negatives, each document once."""

    system: str = Field("dense", min_length=1, description="key of the negatives in `neg`: what found them")

    def write(self, triplets: Source, texts: Texts, folder: Path) -> Summary:
        """Writes the target into the new `folder`. Raises YieldError for no rows."""

        def write(left_out: Counter[str]) -> tuple[int, tuple[str, ...]]:
            (folder / "data").mkdir()
            rows = 0
            with (
                zipped(folder / FILE) as file,
                RowGroups(folder / SCORES, SCHEMA) as scores,
                id_rows(folder, IDS) as sidecar,
            ):
                for batch in examples(triplets, texts, left_out):
                    for example in batch:
                        neg = {self.system: [d.id for d in example.negatives]}
                        line = {"qid": example.id, "pos": [d.id for d in example.positives], "neg": neg}
                        file.write(dumps(line).encode() + b"\n")
                    found = [
                        {"qid": e.id, "docid": d.id, "score": d.score}
                        for e in batch
                        for d in (*e.positives, *e.negatives)
                    ]
                    left_out["scores_that_are_not_known"] += sum(one["score"] is None for one in found)
                    scores.write(
                        pa.Table.from_pylist([one for one in found if one["score"] is not None], schema=SCHEMA)
                    )
                    sidecar.write(pa.Table.from_pylist([e.ids() for e in batch], schema=IDS))
                    rows += len(batch)
            return rows, (FILE, SCORES)

        return export(self, CHECKED, folder, triplets, write)

    def load(self, folder: Path) -> Iterator[Row]:
        """Every row of ids, with the scores that `scores.parquet` has of them, in its order."""
        scores = groupby(pq.read_table(folder / SCORES).to_pylist(), lambda one: one["qid"])
        known = {qid: {one["docid"]: one["score"] for one in found} for qid, found in scores}
        with gzip.open(folder / FILE, "rb") as file:
            for line in file:
                row = json.loads(line)
                pos, neg = tuple(row["pos"]), tuple(row["neg"][self.system])
                yield Row(
                    row["qid"],
                    pos,
                    neg,
                    tuple(known[row["qid"]][d] for d in (*pos, *neg) if d in known.get(row["qid"], {})),
                )

    def wanted(self, texts: Texts, folder: Path) -> Iterator[Row]:
        """The rows that `ids.parquet` calls for: ids, not texts."""
        for batch in pq.ParquetFile(folder / "ids.parquet").iter_batches():
            for row in batch.to_pylist():
                pos, neg = (
                    tuple(texts.doc_ids.take(pa.array(np.array(row[f"{kind}_rows"]))).to_pylist())
                    for kind in ("positive", "negative")
                )
                labels = tuple(score for score in scores_of(row) if score is not None)
                yield Row(texts.query_ids[row["query_row"]].as_py(), pos, neg, labels)
