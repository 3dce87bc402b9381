"""Two workspaces side by side, joined by ids: what was configured, mined, judged and measured differently."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import plan
from pipeline.fingerprint import differences
from pipeline.looking.one import Rows, rows
from pipeline.publish import opened_many, rounds_of
from pipeline.store import Workspace
from stages.errors import ArtefactError
from stages.statistics import bootstrap_interval, randomisation_test

RESAMPLES = 5_000
SEED = 0

_BOTH = """
    CREATE TEMP TABLE query_rows AS SELECT a.row AS one, b.row AS other, a.query_id, a.text
        FROM one.queries a JOIN other.queries b USING (query_id);
    CREATE TEMP TABLE doc_rows AS SELECT a.row AS one, b.row AS other, a.doc_id, a.text_hash = b.text_hash AS same
        FROM one.corpus a JOIN other.corpus b USING (doc_id);"""

_MINED = """
    CREATE TEMP TABLE mined AS
        SELECT q.* FROM query_rows q
        WHERE q.one IN (SELECT query_row FROM one.positives WHERE round = $round)
            AND q.other IN (SELECT query_row FROM other.positives WHERE round = $round)"""

_NEGATIVES = """
    WITH a AS (
        SELECT DISTINCT m.one AS query_row, c.doc_id FROM one.triplet_rows t JOIN mined m ON m.one = t.query_row
        JOIN one.corpus c ON c.row = t.negative_row WHERE t.round = $round
    ),
    b AS (
        SELECT DISTINCT m.one AS query_row, c.doc_id FROM other.triplet_rows t JOIN mined m ON m.other = t.query_row
        JOIN other.corpus c ON c.row = t.negative_row WHERE t.round = $round
    ),
    either AS (
        SELECT coalesce(a.query_row, b.query_row) AS query_row, count(a.doc_id) AS one, count(b.doc_id) AS other,
            count(*) FILTER (a.doc_id = b.doc_id) AS shared, count(*) AS total
        FROM a FULL JOIN b ON a.query_row = b.query_row AND a.doc_id = b.doc_id GROUP BY ALL
    )
    SELECT m.query_id, m.text AS query, e.one, e.other, e.shared, e.shared / e.total AS jaccard
    FROM either e JOIN mined m ON m.one = e.query_row ORDER BY jaccard, m.one"""

_TOLD = """
    SELECT m.one AS query_row, c.doc_id, CASE WHEN bool_or(j.verdict = 'kept') THEN 'kept' ELSE min(j.verdict) END AS verdict,
        min(j.rank) AS rank, max(j.score) AS score
    FROM {name}.judged j JOIN mined m ON m.{name} = j.query_row JOIN {name}.corpus c ON c.row = j.doc_row
    WHERE j.round = $round GROUP BY ALL"""

_VERDICTS = f"""
    CREATE TEMP TABLE verdicts AS
        WITH a AS ({_TOLD.format(name="one")}), b AS ({_TOLD.format(name="other")})
        SELECT coalesce(a.query_row, b.query_row) AS query_row, coalesce(a.doc_id, b.doc_id) AS doc_id,
            a.verdict AS before, b.verdict AS after, a.rank AS rank_before, b.rank AS rank_after,
            a.score AS score_before, b.score AS score_after
        FROM a FULL JOIN b ON a.query_row = b.query_row AND a.doc_id = b.doc_id"""

_CHANGES = """
    SELECT m.query_id, v.* EXCLUDE (query_row), m.text AS query FROM verdicts v JOIN mined m ON m.one = v.query_row
    WHERE v.before IS DISTINCT FROM v.after AND ($query IS NULL OR m.query_id = $query)
    ORDER BY m.one, coalesce(least(v.rank_before, v.rank_after), v.rank_before, v.rank_after), v.doc_id LIMIT $rows"""

_VALUES = """
    SELECT a.round, a.split, a.measure, a.cutoff, m.query_id, a.value AS one, b.value AS other
    FROM one.metrics a JOIN query_rows m ON m.one = a.query_row
    JOIN other.metrics b ON b.query_row = m.other AND b.round = a.round AND b.split = a.split AND b.measure = a.measure
        AND b.cutoff IS NOT DISTINCT FROM a.cutoff
    WHERE a.system = 'dense' AND b.system = 'dense' AND a.collection IS NULL AND b.collection IS NULL
    ORDER BY a.round, a.split, a.measure, a.cutoff NULLS LAST, m.one"""


@contextmanager
def both(one: Path, other: Path) -> Iterator[Any]:
    """A connection to two workspaces as the catalogs `one` and `other`. Raises ArtefactError when one of them is empty."""
    places = {"one": Workspace(one), "other": Workspace(other)}
    with opened_many({name: (place, rounds_of(place)) for name, place in places.items()}) as connection:
        yield connection


def diff(one: Path, other: Path, number: int, limit: int, query: str | None = None) -> dict[str, Any]:
    """All that differs, of what both workspaces have; candidates and negatives of one round.

    `limit` bounds the queries and the changed verdicts that are listed, `query` takes the verdicts of one query alone.
    Raises ArtefactError when one of them is empty.
    """
    with both(one, other) as connection:
        names = [
            {view for (view,) in connection.execute(
                "SELECT view_name FROM duckdb_views() WHERE database_name = $name", {"name": name}
            ).fetchall()}
            for name in ("one", "other")
        ]  # fmt: skip
        there = names[0] & names[1]
        if not {"queries", "corpus"} <= there:
            raise ArtefactError(
                "one of the workspaces has no data yet", where=f"{one}, {other}", try_="hardrock ingest"
            )
        connection.execute(_BOTH)
        found: dict[str, Any] = {
            "one": str(one),
            "other": str(other),
            "round": number,
            "configuration": configured(Workspace(one), Workspace(other)),
            "data": _data(connection),
        }
        if {"positives", "judged"} <= there:
            connection.execute(_MINED, {"round": number})
            connection.execute(_VERDICTS, {"round": number})
            found["verdicts"] = rows(
                connection, "SELECT before, after, count(*) AS candidates FROM verdicts GROUP BY before, after "
                "ORDER BY before IS NOT DISTINCT FROM after, candidates DESC, before, after"
            )  # fmt: skip
            found["changes"] = rows(connection, _CHANGES, query=query, rows=limit)
            if "triplet_rows" in there:
                by_query = rows(connection, _NEGATIVES, round=number)
                found["negatives"] = _negatives(by_query)
                found["queries"] = by_query[:limit]
        if "metrics" in there:
            found["metrics"] = _metrics(rows(connection, _VALUES))
    return found


def configured(one: Workspace, other: Workspace) -> Rows:
    """For each stage that both have: what of its configuration, its version or its inputs from outside differs."""
    found = []
    for node in plan.nodes(max(rounds_of(one), rounds_of(other))):
        pair = [workspace.manifest(node.name) for workspace in (one, other)]
        if pair[0] is not None and pair[1] is not None:
            says = differences({**pair[0].identity, "inputs": {}}, {**pair[1].identity, "inputs": {}})
            says = [
                line for line in says if not line.startswith("report.configuration.")
            ]  # said by the stages themselves
            if says:
                found.append({"stage": node.name, "differs": says})
    return found


def _data(connection: Any) -> dict[str, int]:
    """How many queries and documents only one of the two has, and how many documents have another text."""
    statement = """
        WITH counted AS (
            SELECT (SELECT count(*) FROM query_rows) AS queries, (SELECT count(*) FROM one.queries) AS queries_one,
                (SELECT count(*) FROM other.queries) AS queries_other, (SELECT count(*) FROM doc_rows) AS documents,
                (SELECT count(*) FROM one.corpus) AS documents_one, (SELECT count(*) FROM other.corpus) AS documents_other,
                (SELECT count(*) FROM doc_rows WHERE NOT same) AS documents_changed
        )
        SELECT queries, queries_one - queries AS queries_only_one, queries_other - queries AS queries_only_other, documents,
            documents_one - documents AS documents_only_one, documents_other - documents AS documents_only_other,
            documents_changed
        FROM counted"""
    return rows(connection, statement)[0]


def _negatives(by_query: Rows) -> dict[str, Any]:
    """Churn over all queries, and the mean Jaccard of a query's negatives with its 95% bootstrap interval over queries."""
    shared, one, other = (sum(row[name] for row in by_query) for name in ("shared", "one", "other"))
    values = np.array([[row["jaccard"]] for row in by_query], dtype=np.float64).reshape(-1, 1)
    low, high = (float(end[0]) for end in bootstrap_interval(values, RESAMPLES, SEED)) if by_query else (None, None)
    return {
        "queries": len(by_query),
        "one": one,
        "other": other,
        "shared": shared,
        "new": (other - shared) / other if other else None,
        "jaccard": float(values.mean()) if by_query else None,
        "low": low,
        "high": high,
        "queries_only_one": sum(row["other"] == 0 for row in by_query),
        "queries_only_other": sum(row["one"] == 0 for row in by_query),
    }


def _metrics(values: Rows) -> Rows:
    """Means over the queries that both measured, and their difference: paired by query, with interval and p-value."""
    groups: dict[tuple[Any, ...], list[tuple[float, float]]] = {}
    for row in values:
        groups.setdefault((row["round"], row["split"], row["measure"], row["cutoff"]), []).append(
            (row["one"], row["other"])
        )
    found = []
    for (number, split, measure, cutoff), pairs in groups.items():
        one, other = np.array(pairs, dtype=np.float64).T
        apart = (other - one)[:, None]
        low, high = bootstrap_interval(apart, RESAMPLES, SEED)
        found.append(
            {
                "round": number, "split": split, "measure": measure, "cutoff": cutoff, "queries": len(pairs),
                "one": float(one.mean()), "other": float(other.mean()), "difference": float(apart.mean()),
                "low": float(low[0]), "high": float(high[0]),
                "p_value": float(randomisation_test(apart, RESAMPLES, SEED)[0]),
            }
        )  # fmt: skip
    return found
