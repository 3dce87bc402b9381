"""What every filter says of one candidate, also those after the one that decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from stages.judging import Documents, Known
from stages.teacher_scores import PartScores
from stages.verdicts import Filter, view


class Said(NamedTuple):
    """One filter's answer about a candidate that is held against one positive."""

    filter: str
    drops: bool
    value: float | None  # what the filter looked at
    limit: float | None  # what it held that to
    positive_row: int | None
    positive_score: float | None


def explain(
    comparison: str,
    filters: Sequence[Filter],
    known: Known,
    found: pa.Table,
    held: pa.Table,
    *,
    doc_row: int,
    documents: Documents | None = None,
    taught: PartScores | None = None,
) -> list[Said]:
    """The answers of all filters in order, for each positive that the document is held against.

    `found` are all candidates of the query, for some filters look at those beside it, and `held` its positives.
    """
    seen = view(comparison, known, found, held, documents=documents, taught=taught)
    places = np.flatnonzero(seen.doc_row == doc_row)
    labels = [(rule.name, rule.label(seen)) for rule in filters]
    return [
        Said(
            name,
            bool(label.drop[place]),
            _known(label.value[place]),
            _known(label.limit[place]),
            int(seen.positive_row[place]) if seen.positive_row[place] >= 0 else None,
            _known(seen.positive_score[place]),
        )
        for place in places
        for name, label in labels
    ]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
