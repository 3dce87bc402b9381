"""Likely false negatives among what the filters kept: a reason to look, not a verdict."""

from __future__ import annotations

from typing import Any

from pipeline.looking.one import Rows, need, rows
from stages.suspecting import POOL


def suspects(connection: Any, number: int, limit: int, pool: int = POOL, sampled: bool = False) -> Rows:
    """The first suspects of a round, those with the most signs first, each with its own and the likest positive's text.

    `sampled` takes only those that became negatives of a triplet. Raises ArtefactError before anything was judged.
    """
    need(connection, "positives", "judged", "teacher_scores", "qrels", command="judge")
    chosen = ""
    if sampled:
        need(connection, "triplet_rows", command="sample")
        chosen = (
            "AND EXISTS (SELECT 1 FROM triplet_rows t WHERE t.round = s.round AND t.query_row = s.query_row "
            "AND t.negative_row = s.doc_row)"
        )
    return rows(
        connection,
        f"SELECT s.* FROM fn_suspects(pool := {int(pool)}) s WHERE s.round = $round {chosen} "
        "ORDER BY len(string_split(s.signs, ', ')) DESC, s.gap NULLS LAST, s.query_row, s.doc_row LIMIT $rows",
        round=number,
        rows=limit,
    )
