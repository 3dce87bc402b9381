"""What people answered when they were shown a query and a document: labels, which overrule the judgements of the data set.

A file of labels has one JSON object a line: `query_id`, `doc_id`, `relevance` (1 relevant, 0 not, null not sure), and whatever
else is worth keeping, such as the time. It is only ever added to: of one pair the last line counts, and null takes an
answer back.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stages.errors import InputError, StorageError
from stages.schemas import QRELS

SOURCE = "human"
"""The source of a judgement that a person made here, in the qrels."""

Labels = Mapping[tuple[str, str], int]
"""(query id, document id) → relevance."""


def lines(path: Path) -> list[dict[str, Any]]:
    """Every line of a file of labels in order; none when there is no file. Raises InputError for a line that is none."""
    try:
        if path.is_fifo():  # nobody may ever write into it
            raise StorageError("the labels cannot be read", where=str(path), got="a pipe", try_="a file")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise InputError("the labels are not UTF-8", where=str(path), got=error) from None
    except OSError as error:
        raise StorageError("the labels cannot be read", where=str(path), got=error.strerror or error) from error
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            sound = isinstance(value, dict) and all(isinstance(value.get(key), str) for key in ("query_id", "doc_id"))
            relevance = value["relevance"] if sound else ""
        except (ValueError, KeyError, RecursionError):
            sound, relevance = False, ""
        if not sound or relevance not in (None, 0, 1) or isinstance(relevance, (bool, float)):
            raise InputError(
                "not a label", where=f"{path} line {number}", got=line[:80],
                try_='{"query_id": "…", "doc_id": "…", "relevance": 1}, or 0, or null; or remove the line',
            )  # fmt: skip
        found.append(value)
    return found


def read(path: Path) -> Labels:
    """What holds now: the last answer of each pair, without those that are null."""
    last = {(line["query_id"], line["doc_id"]): line["relevance"] for line in lines(path)}
    return {pair: relevance for pair, relevance in last.items() if relevance is not None}


def fingerprint(labels: Labels) -> str:
    """A hash over what holds: neither the order of the answers counts, nor when they were given."""
    content = json.dumps(sorted([*pair, relevance] for pair, relevance in labels.items()))
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def overrule(
    qrels: pa.Table,
    labels: Labels,
    query_row: Callable[[str], int],
    doc_row: Callable[[str], int],
    split: Callable[[int], str],
) -> tuple[pa.Table, dict[str, int]]:
    """The qrels with the labels in them, source `human`, ordered by (query_row, doc_row), and counters.

    `query_row` and `doc_row` give the row of an id, below 0 for one that is not there: its labels are left out and counted.
    """
    counts = Counter(dict.fromkeys(("labels.added", "labels.agreed", "labels.overruled", "labels.missing"), 0))
    place = {
        pair: i for i, pair in enumerate(zip(qrels["query_row"].to_pylist(), qrels["doc_row"].to_pylist(), strict=True))
    }
    relevance, source = qrels["relevance"].to_pylist(), qrels["source"].to_pylist()
    added: list[tuple[int, int, int]] = []
    for (query_id, doc_id), answer in labels.items():
        pair = (query_row(query_id), doc_row(doc_id))
        if min(pair) < 0:
            counts["labels.missing"] += 1
        elif pair not in place:
            counts["labels.added"] += 1
            added.append((*pair, answer))
        else:
            i = place[pair]
            counts["labels.agreed" if (relevance[i] > 0) == (answer > 0) else "labels.overruled"] += 1
            if (relevance[i] > 0) != (answer > 0):
                relevance[i], source[i] = answer, SOURCE
    columns = [
        qrels["query_row"].to_pylist() + [q for q, _, _ in added],
        qrels["doc_row"].to_pylist() + [d for _, d, _ in added],
        relevance + [r for _, _, r in added],
        qrels["split"].to_pylist() + [split(q) for q, _, _ in added],
        source + [SOURCE] * len(added),
    ]
    order = np.lexsort((np.array(columns[1], np.int64), np.array(columns[0], np.int64)))
    arrays = [pa.array(column, field.type) for column, field in zip(columns, QRELS, strict=True)]
    return pa.table(arrays, schema=QRELS).take(pa.array(order)), dict(counts)
