from __future__ import annotations

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.errors import YieldError
from stages.exporters import st_ntuple
from stages.exporters._common import Texts, whole_groups
from stages.exporters.st_ntuple import StNtuple
from tests.export_world import contents, data, ids, world
from tests.support import source

ROWS = [(0, 3, 7), (0, 3, 9), (0, 3, 8), (0, 4, 7), (2, 4, 1), (2, 4, 6), (3, 5, 1), (3, 5, 0)]


def write(inputs, folder, **config):
    return StNtuple(**config).write(inputs["triplets"], Texts.read(inputs["queries"], inputs["corpus"]), folder)


def test_a_pair_gives_its_first_negatives_in_the_order_of_choice(tmp_path):
    summary = write(world(ROWS), tmp_path / "x", negatives=2)
    assert data(tmp_path / "x") == [
        {
            "anchor": f"text of query {q}",
            "positive": f"text of document {p}",
            "negative_1": f"text of document {first}",
            "negative_2": f"text of document {second}",
        }
        for q, p, first, second in [(0, 3, 7, 9), (2, 4, 1, 6), (3, 5, 1, 0)]
    ]
    assert list(data(tmp_path / "x")[0]) == ["anchor", "positive", "negative_1", "negative_2"]
    assert summary.left_out == {
        "pairs_with_too_few_negatives": 1,
        "negatives_of_pairs_with_too_few": 1,
        "negatives_beyond_those_asked_for": 1,
    }


def test_the_sidecar_lists_the_negatives_of_each_row(tmp_path):
    write(world(ROWS), tmp_path / "x", negatives=2)
    assert ids(tmp_path / "x")[0] == {
        "query_id": "q0",
        "positive_id": "d3",
        "negative_ids": ["d7", "d9"],
        "query_row": 0,
        "positive_row": 3,
        "negative_rows": [7, 9],
        "positive_score": 0.97,
        "negative_scores": [0.5 - 7 / 100, 0.5 - 9 / 100],
        "ranks": [8, 10],
        "sampler": "top",
        "seed": 13,
        "round": 0,
    }
    assert [row["negative_ids"] for row in ids(tmp_path / "x")] == [["d7", "d9"], ["d1", "d6"], ["d1", "d0"]]


def test_a_target_without_rows_says_what_is_missing(tmp_path):
    with pytest.raises(YieldError, match="nothing is left") as raised:
        write(world(ROWS), tmp_path / "x", negatives=4)
    assert "4 pairs_with_too_few_negatives" in str(raised.value)


pair = st.tuples(st.integers(0, 4), st.integers(0, 3))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    groups=st.dictionaries(
        pair, st.lists(st.integers(4, 29), min_size=1, max_size=6, unique=True), min_size=1, max_size=8
    ),
    n=st.integers(1, 4),
    batching=st.tuples(st.integers(1, 9), st.integers(0, 20)),
)
def test_against_a_plain_grouping(tmp_path_factory, monkeypatch, groups, n, batching):
    rows, cut = batching
    monkeypatch.setattr(st_ntuple, "whole_groups", lambda source, keys: whole_groups(source, keys, rows))
    folder = tmp_path_factory.mktemp("ntuple")
    ordered = sorted(groups.items())
    inputs = world([(q, p, d) for (q, p), docs in ordered for d in docs])
    whole = inputs["triplets"].read()
    inputs["triplets"] = source(whole.slice(0, cut), whole.slice(cut))
    expected = [(f"q{q}", f"d{p}", [f"d{d}" for d in docs[:n]]) for (q, p), docs in ordered if len(docs) >= n]
    if not expected:
        with pytest.raises(YieldError):
            write(inputs, folder / "x", negatives=n)
        return
    summary = write(inputs, folder / "x", negatives=n)
    assert [(row["query_id"], row["positive_id"], row["negative_ids"]) for row in ids(folder / "x")] == expected
    texts = [tuple(row.values()) for row in data(folder / "x")]
    assert texts == [
        (f"text of query {q[1:]}", *(f"text of document {d[1:]}" for d in (p, *docs))) for q, p, docs in expected
    ]
    # every triplet is either in the data or counted
    assert summary.rows * n + summary.left_out["negatives_of_pairs_with_too_few"] + summary.left_out[
        "negatives_beyond_those_asked_for"
    ] == sum(map(len, groups.values()))


def test_files_and_bytes(tmp_path):
    rows = [(q % 6, q // 6, n) for q in range(12) for n in range(4, 10)]
    rows.sort()
    inputs = world(rows)
    summary = write(inputs, tmp_path / "x", negatives=6, rows_per_file=5)
    assert [pq.read_metadata(tmp_path / "x" / name).num_rows for name in summary.files] == [5, 5, 2]
    whole = inputs["triplets"].read()
    cut = {**inputs, "triplets": source(*(whole.slice(i, 7) for i in range(0, whole.num_rows, 7)))}
    write(cut, tmp_path / "y", negatives=6, rows_per_file=5)
    assert contents(tmp_path / "x") == contents(tmp_path / "y")
