"""How the negatives of rounds differ, in the catalog and for the report, against sets in plain Python."""

from __future__ import annotations

import random

import pyarrow.parquet as pq
import pytest

from pipeline.catalog import Entry, build
from stages.reports.churn import churn
from tests.pipeline.test_catalog import ask
from tests.support import source, table


def test_churn_is_counted_for_each_pair_against_the_round_before(tmp_path):
    """By sets in plain Python, over random triplets of four rounds of which the third has none."""
    chance = random.Random(3)
    rounds = {
        number: [
            (q, p, n)
            for q in range(8)
            for p in range(q, q + chance.randint(0, 2))
            for n in sorted(chance.sample(range(20, 28), chance.randint(1, 4)))
        ]
        for number in (0, 1, 3, 4)
    }
    common = {"negative_score": 0.5, "rank": 1, "sampler": "top", "seed": 0}
    tables = {
        ("queries", None): [
            {"row": q, "query_id": f"q{q}", "text": f"query {q}", "split": "train", "source": "given", "text_hash": q}
            for q in range(8)
        ]
    } | {
        ("triplets", number): [
            {"query_row": q, "positive_row": p, "negative_row": n, "round": number, **common} for q, p, n in rows
        ]
        for number, rows in rounds.items()
    }
    entries = []
    for (name, number), rows in tables.items():
        path = tmp_path / f"{name}-{number}.parquet"
        pq.write_table(table(name, rows), path)
        entries.append(Entry(name, number, (path,)))
    build(tmp_path / "catalog.duckdb", entries)
    whole = {row["round"]: row for row in ask(tmp_path, "FROM churn")}
    each = {(row["round"], row["query_row"]): row for row in ask(tmp_path, "FROM churn_by_query")}
    assert set(whole) == {1, 4}
    for number, row in whole.items():
        here, there = set(rounds[number]), set(rounds[number - 1])
        queries = sorted({q for q, _, _ in here | there})
        assert [q for r, q in sorted(each) if r == number] == queries
        jaccards = []
        for q in queries:
            mine, other = ({t for t in many if t[0] == q} for many in (here, there))
            found = each[number, q]
            assert (found["negatives"], found["before"], found["shared"]) == (len(mine), len(other), len(mine & other))
            assert found["new"] == (pytest.approx(len(mine - other) / len(mine)) if mine else None)
            jaccards.append(len(mine & other) / len(mine | other))
            assert found["jaccard"] == pytest.approx(jaccards[-1])
        assert row["new"] == pytest.approx(len(here - there) / len(here))
        assert row["jaccard"] == pytest.approx(sum(jaccards) / len(jaccards))
        assert row["queries_gained"] == len({q for q, _, _ in here} - {q for q, _, _ in there})
        assert row["queries_lost"] == len({q for q, _, _ in there} - {q for q, _, _ in here})
        expected = churn(number, *(source(table("triplets", tables["triplets", n])) for n in (number, number - 1)))
        assert (expected.negatives, expected.before, expected.shared) == (len(here), len(there), len(here & there))
        for name in ("new", "jaccard", "queries_gained", "queries_lost"):
            assert getattr(expected, name) == pytest.approx(row[name])
