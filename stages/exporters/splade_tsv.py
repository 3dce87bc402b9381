"""SPLADE (naver): `data/raw.tsv` of query, positive, negative, and with `scores` the two scores.

The folder is what its data set of triplets, or of distillation, is given. There is no quoting, so tabs and line ends in
texts become blanks, counted. The maintained way to train SPLADE is sentence-transformers: see `st_triplet`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from stages.exporters._common import Row, Texts, rebatched
from stages.exporters._parquet import id_rows
from stages.exporters._pieces import Framed, OneFile
from stages.exporters._rows import scores_of
from stages.exporters._tsv import escape, shown
from stages.exporters.st_triplet import IDS, id_columns
from stages.spec import Source

CHECKED = {"splade": "commit 8dcd33a"}
LOADER = "csv"
FILE = "data/raw.tsv"


class SpladeTsv(OneFile):
    """Lines of query, positive, negative, one for each triplet."""

    scores: bool = Field(False, description="add both scores for distillation; triplets with one missing are left out")

    @property
    def sidecar(self) -> pa.Schema:
        """The columns of `ids.parquet`."""
        return IDS

    @property
    def framed(self) -> Framed:
        """Lines."""
        return Framed(FILE, typed=False)

    def rows_of(
        self, triplets: Source, texts: Texts, folder: Path, left_out: Counter[str], escaped: Counter[str]
    ) -> int:
        """The lines of these triplets."""
        (folder / "data").mkdir()
        rows = 0
        with (folder / FILE).open("wb") as file, id_rows(folder, IDS) as sidecar:
            for table in rebatched(triplets):
                kept = self._kept(table, left_out)
                for line in self._lines(kept, texts, escaped):
                    file.write(b"\n" * (rows > 0) + line.encode())
                    rows += 1
                sidecar.write(id_columns(kept, texts))
        return rows

    def _kept(self, table: pa.Table, left_out: Counter[str]) -> pa.Table:
        if not self.scores:
            return table
        scores = [table.column(f"{kind}_score").to_numpy() for kind in ("positive", "negative")]
        known = np.isfinite(scores[0].astype(np.float64)) & np.isfinite(scores[1])
        left_out["negatives_with_a_score_missing"] += int((~known).sum())
        return table.filter(pa.array(known))

    def _lines(self, table: pa.Table, texts: Texts, escaped: Counter[str]) -> Iterator[str]:
        query, positive, negative = (
            table.column(f"{kind}_row").to_numpy() for kind in ("query", "positive", "negative")
        )
        columns = [texts.anchors(query, prompts=False), texts.documents(positive), texts.documents(negative)]
        fields = [[escape(text, escaped) for text in column.to_pylist()] for column in columns]
        if self.scores:
            fields += [[repr(s) for s in table.column(f"{k}_score").to_pylist()] for k in ("positive", "negative")]
        for line in zip(*fields, strict=True):
            yield "\t".join(line)

    def shown(self, text: str) -> str:
        """A text as this format holds it."""
        return shown(text)

    def load(self, folder: Path) -> Iterator[Row]:
        """Every line, split at its tabs as its loader does."""
        with (folder / FILE).open(encoding="utf-8", newline="\n") as file:
            for line in file:
                query, positive, negative, *scores = line.rstrip("\n").split("\t")
                yield Row(query, (positive,), (negative,), tuple(map(float, scores)))

    def labels(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        """The scores that a row of `ids.parquet` calls for."""
        return scores_of(row) if self.scores else ()
