"""The queries that can be searched and opened on the page: their rows, packed so that thousands of them are a few megabytes.

The rows are JSON, compressed and in base64. Nothing in base64 can close a script element, whatever the texts say.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.reports.findings import gaps
from stages.reports.mining import KEPT, distinct, key, whole_queries
from stages.spec import Source

BYTES = 4_000_000
"""The most that the packed rows may take of the page, together with the pictures elsewhere on it."""

_SHORTEST = 30
"""Characters of a text below which queries are left out instead."""


@dataclass(frozen=True)
class Browse:
    round: int
    queries: int
    of: int
    """Queries that were mined."""
    characters: int
    packed: str
    pictures: int = 0
    """Pictures among the rows."""
    beyond: int = 0
    """Pictures that were left out, as the page would be too large."""


Listed = dict[int, dict[str, Any]]
"""By query: positives, kept and dropped as short lists, how many more there are, how many of each verdict, the smallest gap."""


def listed(tables: Mapping[str, Source], rows: Sequence[int], count: int) -> Listed:
    """Positives of these queries and their first `count` kept and dropped candidates, sampled ones before others, by rank."""
    found: Listed = {row: {"p": [], "k": [], "d": [], "m": [0, 0], "v": {}, "g": None} for row in rows}
    wanted = pa.array(rows, pa.int32())
    for batch in tables["positives"].batches(["query_row", "positive_row", "score", "rank"]):
        for row in batch.filter(pc.is_in(batch.column("query_row"), wanted)).to_pylist():
            found[row["query_row"]]["p"].append([row["positive_row"], row["rank"] or 0, _short(row["score"])])
    triplets = tables["triplets"].read(["query_row", "negative_row"])
    sampled = distinct(*(column.to_numpy() for column in triplets.columns))
    columns = ["query_row", "doc_row", "rank", "score", "positive_score", "verdict", "evidence"]
    for table in whole_queries(tables["judged"], columns):
        near = table.filter(pc.is_in(table.column("query_row"), wanted))
        if near.num_rows:
            _first(near, sampled, count, found)
            _whole(near, found)
    for each in found.values():
        each["p"].sort(key=lambda one: (one[1] == 0, one[1]))
    return found


def _first(table: pa.Table, sampled: np.ndarray, count: int, found: Listed) -> None:
    """Adds the first `count` kept and dropped candidates of each query of a table."""
    query = table.column("query_row").to_numpy()
    kept = pc.equal(table.column("verdict").cast(pa.string()), KEPT).to_numpy()
    chosen = kept & np.isin(key(query, table.column("doc_row").to_numpy()), sampled)
    group = query.astype(np.int64) * 2 + kept
    order = np.lexsort((np.arange(len(group)), ~chosen, group))
    groups, starts, sizes = np.unique(group[order], return_index=True, return_counts=True)
    place = np.arange(len(group)) - np.repeat(starts, sizes)
    picked = np.sort(order[place < count])
    for row, is_chosen in zip(table.take(pa.array(picked)).to_pylist(), chosen[picked].tolist(), strict=True):
        common = [row["doc_row"], row["rank"], _short(row["score"]), _short(row["positive_score"])]
        if row["verdict"] == KEPT:
            found[row["query_row"]]["k"].append([*common, int(is_chosen)])
        else:
            numbers = [_short(row["evidence"][name]) for name in ("value", "limit")]
            found[row["query_row"]]["d"].append([*common, row["verdict"], *numbers])
    for one, size in zip(groups.tolist(), sizes.tolist(), strict=True):
        found[one // 2]["m"][1 - one % 2] = max(0, size - count)


def _whole(table: pa.Table, found: Listed) -> None:
    """Adds what is true of a query as a whole: how many were dropped for each reason, and the smallest gap of a kept one."""
    verdict = table.column("verdict").cast(pa.string())
    counted = pa.table({"query": table.column("query_row"), "verdict": verdict}).group_by(["query", "verdict"])
    for row in sorted(counted.aggregate([([], "count_all")]).to_pylist(), key=lambda row: -row["count_all"]):
        if row["verdict"] != KEPT:
            found[row["query"]]["v"][row["verdict"]] = row["count_all"]
    kept = table.filter(pc.equal(verdict, KEPT))
    for query, gap in zip(kept.column("query_row").to_pylist(), gaps(kept).tolist(), strict=True):
        if np.isfinite(gap) and (found[query]["g"] is None or gap < found[query]["g"]):
            found[query]["g"] = _short(gap)


def pack(
    shown: Listed,
    queries: Mapping[int, Mapping[str, Any]],
    documents: Mapping[int, Mapping[str, Any]],
    *,
    round: int,
    of: int,
    scale: tuple[float, float],
    characters: int,
    pictures: Mapping[int, str] | None = None,
    beyond: int = 0,
    room: int = BYTES,
) -> Browse:
    """The rows, with texts cut shorter, and then queries left out, until they fit into `room` bytes.

    Queries and documents are rows of their tables. `pictures` are data URIs by row in pictures.
    """
    rows = list(shown)
    while True:
        packed, held = _packed(rows, shown, queries, documents, pictures or {}, scale=scale, characters=characters)
        if len(packed) <= room or not rows:
            return Browse(round, len(rows), of, characters, packed, held, beyond)
        if characters > _SHORTEST:
            characters = max(_SHORTEST, int(characters * 0.6))
        else:
            rows = rows[: int(len(rows) * 0.9 * room / len(packed))]


def _packed(
    rows: Sequence[int],
    shown: Listed,
    queries: Mapping[int, Mapping[str, Any]],
    documents: Mapping[int, Mapping[str, Any]],
    pictures: Mapping[int, str],
    *,
    scale: tuple[float, float],
    characters: int,
) -> tuple[str, int]:
    places: dict[int, int] = {}
    images: dict[int, int] = {}
    verdicts: dict[str, int] = {}
    listed = []

    def seen(one: Mapping[str, Any]) -> list[int]:
        """The place of its picture, where there is one."""
        return [images.setdefault(one["picture"], len(images))] if one["picture"] in pictures else []

    for row in rows:
        one, query = shown[row], queries[row]
        lists = [
            [[places.setdefault(c[0], len(places)), *c[1:]] for c in one["p"]],
            [[places.setdefault(c[0], len(places)), *c[1:]] for c in one["k"]],
            [
                [places.setdefault(c[0], len(places)), *c[1:4], verdicts.setdefault(c[4], len(verdicts)), *c[5:]]
                for c in one["d"]
            ],
        ]
        counts = [[verdicts.setdefault(name, len(verdicts)), count] for name, count in one["v"].items()]
        head = [query["query_id"], cut(query["text"], characters), query["split"]]
        listed.append([*head, *lists, one["m"], counts, one["g"], *seen(query)])
    texts = [
        [one["doc_id"], cut(one["title"] or "", characters), cut(one["text"], characters), *seen(one)]
        for one in (documents[row] for row in places)
    ]
    data = {
        "scale": scale, "verdicts": list(verdicts), "documents": texts, "queries": listed,
        "pictures": [pictures[row] for row in images],
    }  # fmt: skip
    said = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(said.encode("utf-8", "replace"), 6)).decode(), len(images)


def cut(text: str, characters: int) -> str:
    """The beginning of a text, with an ellipsis where it goes on."""
    return text if len(text) <= characters else text[: characters - 1].rstrip() + "…"


def _short(value: float | None) -> float | None:
    """With four decimals; None for what is no number."""
    return None if value is None or not np.isfinite(value) else round(value, 4)
