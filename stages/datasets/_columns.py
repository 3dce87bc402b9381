"""Which columns are queries, positives and negatives, by the names that data sets give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from stages.datasets._examples import Columns
from stages.errors import ConfigError, listing

ANCHORS = ("anchor", "query", "question", "sentence1", "premise", "instruction", "title")
POSITIVES = (
    "positive", "pos", "answer", "response", "passage", "document", "context", "sentence2", "entailment", "text", "abstract",
    "positives", "positive_passages",
)  # fmt: skip
NEGATIVES = ("negative", "neg", "negatives", "contradiction", "negative_passages")
LABELS = ("label", "labels", "score", "scores", "pos_scores", "neg_scores")


class Asked(NamedTuple):
    """The columns that a configuration names."""

    anchor: str | None
    positive: str | None
    negatives: tuple[str, ...] | None
    label: str | None


def detect(asked: Asked, known: Sequence[str], where: str) -> Columns:
    """The columns that are asked for, and the rest by known names. Raises ConfigError when they cannot be told."""
    if asked.anchor is not None and asked.positive is not None:
        return Columns(asked.anchor, asked.positive, asked.negatives or (), label=asked.label)
    by_name = {name.lower(): name for name in reversed(known)}
    anchor = asked.anchor or next((by_name[n] for n in ANCHORS if n in by_name and by_name[n] != asked.positive), None)
    positive = asked.positive or next((by_name[n] for n in POSITIVES if n in by_name and by_name[n] != anchor), None)
    try_ = 'anchor = "COLUMN" and positive = "COLUMN"'
    if len(known) == 1 and (other := next((c for c in ";\t|," if c in known[0]), None)):
        try_ = f"one column with {other!r} in its name: cells are separated by commas in .csv, by tabs in .tsv"
    if anchor is None or positive is None:
        lacks = " and ".join(n for n, c in (("anchor", anchor), ("positive", positive)) if c is None)
        raise ConfigError(f"no column is known as {lacks}", where=where, got=f"columns: {listing(known)}", try_=try_)
    negatives = asked.negatives
    if negatives is None:
        negatives = () if asked.anchor or asked.positive else tuple(n for n in known if is_negative(n))
    if not negatives and asked.label is None and (scored := scores(known)):
        raise ConfigError(
            f"a column {scored[0]!r} beside {anchor!r} and {positive!r}: not every row may be a positive pair",
            where=where,
            got=f"columns: {listing(known)}",
            try_=f'label = "{scored[0]}" where it is 0 or 1; {try_} take every row as a positive pair',
        )
    return Columns(anchor, positive, negatives, label=asked.label)


def scores(known: Sequence[str]) -> list[str]:
    """The columns of labels or scores."""
    return [name for name in known if name.lower() in LABELS]


def is_negative(column: str) -> bool:
    """Whether a column is known to hold negatives: `negative`, `negative_1`, `neg`."""
    name = column.lower()
    return name in NEGATIVES or (name.startswith("negative_") and name.removeprefix("negative_").isdecimal())


def says(columns: Columns) -> str:
    """The columns as one line."""
    found = [f"anchor = {columns.anchor}", f"positive = {columns.positive}"]
    found += [f"negatives = {', '.join(columns.negatives)}"] if columns.negatives else []
    found += [f"anchor_id = {columns.anchor_id}"] if columns.anchor_id else []
    return f"columns taken: {', '.join(found)}"
