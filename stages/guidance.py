"""What other models say of training pairs: the scores of a teacher, and the embeddings of a guide.

Both are looked up by row, so that it does not matter which documents come into a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.errors import ConfigError, YieldError, suggestion
from stages.judging import Lookup, numbers
from stages.spec import Source


@dataclass(frozen=True)
class Scores:
    """The scores that one teacher gave."""

    teacher: str
    of_pairs: Lookup  # (query_row << 32) + doc_row → score, finite ones only

    @classmethod
    def read(cls, source: Source, teacher: str | None) -> Scores:
        """Of the named teacher or the first one. Raises ConfigError when there is none of that name, or none at all."""
        titles = [each["title"] for each in source.facts.get("teachers", ())]
        if not titles:
            raise ConfigError(
                "the loss distils from a teacher's scores, and no teacher is configured",
                where="train.loss",
                try_="[teach.teachers.cross_encoder] with a model, or a loss that needs no teacher",
            )
        title = titles[0] if teacher is None else teacher
        if title not in titles:
            raise ConfigError(f"no teacher {title!r}", where="train.loss.teacher", try_=suggestion(title, titles))
        keys, values = [np.empty(0, dtype=np.int64)], [np.empty(0)]
        for part in source.parts:
            table = source.read(part=part)
            mine = table.filter(pc.equal(table["teacher"].cast(pa.string()), title))
            score = numbers(mine["score"], np.nan)
            finite = np.isfinite(score)
            keys.append(_keys(mine["query_row"].to_numpy(), mine["doc_row"].to_numpy())[finite])
            values.append(score[finite])
        return cls(title, Lookup.highest(np.concatenate(keys), np.concatenate(values)))

    def __call__(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Scores of pairs of rows (n,): float64 (n,), NaN where there is none."""
        return self.of_pairs(_keys(queries, documents))

    def scored(self, triplets: pa.Table) -> tuple[pa.Table, dict[str, int]]:
        """The triplets of which both sides have a score, and the counters of the others. Raises YieldError for none."""
        query, positive, negative = (triplets[f"{name}_row"].to_numpy() for name in ("query", "positive", "negative"))
        above, below = (np.isfinite(self(query, documents)) for documents in (positive, negative))
        if not (above & below).any():
            raise YieldError(
                f"the teacher {self.teacher!r} scored no triplet", where="train.loss", got=f"{len(triplets)} triplets",
                try_="a larger teach.depth, or another teacher",
            )  # fmt: skip
        counters = {
            "triplets.positive_without_teacher_score": int((~above).sum()),
            "triplets.negative_without_teacher_score": int((above & ~below).sum()),
        }
        return triplets.filter(pa.array(above & below)), counters


@dataclass(frozen=True)
class Vectors:
    """Embeddings of some rows of a table."""

    rows: np.ndarray  # int (n,), ascending
    values: np.ndarray  # float32 (n, d)

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Those of rows (m,), which may repeat: float32 (m, d)."""
        found: np.ndarray = self.values[np.searchsorted(self.rows, rows)]
        return found


@dataclass(frozen=True)
class Guidance:
    """All that a batch gets from other models; what is None the loss did not ask for."""

    scores: Scores | None = None
    guide: tuple[Vectors, Vectors] | None = None  # of queries and documents

    def of(self, queries: np.ndarray, documents: np.ndarray, owners: np.ndarray) -> dict[str, Any]:
        """For rows of queries (B,) and documents (M,) and the place in `queries` of each document's, (M,): see Batch."""
        found: dict[str, Any] = {}
        if self.scores is not None:
            found["scores"] = self.scores(queries[owners], documents)
        if self.guide is not None:
            found["guide_queries"], found["guide_documents"] = (
                vectors.of(rows) for vectors, rows in zip(self.guide, (queries, documents), strict=True)
            )
        return found


def _keys(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Pairs of rows as int64."""
    keys: np.ndarray = (queries.astype(np.int64) << 32) + documents
    return keys
