from __future__ import annotations

import io
import math
from collections.abc import Mapping
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.trec import Measure, escaped, falling, measure, run_lines

MEASURES = [
    Measure("nDCG", 3),
    Measure("nDCG", 10),
    Measure("MRR", 2),
    Measure("MRR", 10),
    Measure("Recall", 4),
    Measure("Recall", 100),
    Measure("MAP", None),
]


def reference(ranked: list[int], gains: Mapping[int, int], m: Measure) -> float:
    """The measure of one ranking in float64, written down from its definition."""
    cut = ranked if m.cutoff is None else ranked[: m.cutoff]
    hits = [rank for rank, doc in enumerate(cut, 1) if doc in gains]
    if m.name == "MRR":
        return 1 / hits[0] if hits else 0.0
    if m.name == "Recall":
        return len(hits) / len(gains)
    if m.name == "MAP":
        return sum((i + 1) / rank for i, rank in enumerate(hits)) / len(gains)
    ideal = sorted(gains.values(), reverse=True)[: m.cutoff]
    best = sum(gain / math.log2(rank + 1) for rank, gain in enumerate(ideal, 1))
    return sum(gains[cut[rank - 1]] / math.log2(rank + 1) for rank in hits) / best


DOCS = 14
searches = st.lists(
    st.tuples(
        st.lists(st.sampled_from([0.5, 0.5, 0.25, 0.5 + 1e-12, -1.0, 0.0]), min_size=DOCS, max_size=DOCS),
        st.integers(0, DOCS),
        st.dictionaries(st.integers(0, DOCS - 1), st.integers(1, 3), min_size=1),
    ),
    min_size=1,
    max_size=4,
)


def ranked(scores: list[float], hits: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((np.arange(DOCS), -np.array(scores)))
    rows = np.where(np.arange(DOCS) < hits, order, -1).astype(np.int32)
    return rows, np.where(rows >= 0, np.array(scores)[order], -np.inf)


@settings(max_examples=80, deadline=None)
@given(searches)
def test_measures_agree_with_their_definitions_ties_included(
    found: list[tuple[list[float], int, dict[int, int]]],
) -> None:
    pairs = [ranked(scores, hits) for scores, hits, _ in found]
    rows, scores = (np.stack(x) for x in zip(*pairs, strict=True))
    gains = [g for _, _, g in found]
    values = measure(rows, falling(scores), gains, MEASURES)
    for i, g in enumerate(gains):
        documents = [int(row) for row in rows[i] if row >= 0]
        expected = [reference(documents, g, m) for m in MEASURES]
        np.testing.assert_allclose(values[i], expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=80, deadline=None)
@given(searches)
def test_the_written_run_gives_the_same_figures_in_trec_eval(
    found: list[tuple[list[float], int, dict[int, int]]],
) -> None:
    pairs = [ranked(scores, hits) for scores, hits, _ in found]
    rows, scores = (np.stack(x) for x in zip(*pairs, strict=True))
    fallen = falling(scores)
    values = measure(rows, fallen, [g for _, _, g in found], MEASURES)
    query_ids = pa.array([f"q{i}" for i in range(len(found))], pa.large_string())
    doc_ids = pa.array([f"d{i}" for i in range(DOCS)], pa.large_string())
    text = b"".join(run_lines(query_ids, doc_ids, rows, fallen, "dense-00")).decode()
    parsed = pytrec_eval.parse_run(io.StringIO(text))
    qrels = {f"q{i}": {f"d{doc}": gain for doc, gain in g.items()} for i, (_, _, g) in enumerate(found)}
    results = pytrec_eval.RelevanceEvaluator(qrels, {"map", "ndcg_cut_10", "recall_100"}).evaluate(parsed)
    for i in range(len(found)):
        expected = results.get(f"q{i}", {"ndcg_cut_10": 0.0, "recall_100": 0.0, "map": 0.0})
        assert values[i, 1] == expected["ndcg_cut_10"]
        assert values[i, 5] == expected["recall_100"]
        assert values[i, 6] == expected["map"]


def test_ties_go_to_the_lower_row_where_trec_eval_alone_takes_the_higher_id() -> None:
    rows, scores = ranked([0.5] * DOCS, DOCS)
    values = measure(rows[None], falling(scores[None]), [{0: 1}], [Measure("MRR", 10)])
    assert values[0, 0] == 1.0
    direct = pytrec_eval.RelevanceEvaluator({"q": {"0": 1}}, {"recip_rank"})
    assert direct.evaluate({"q": {str(row): 0.5 for row in rows.tolist()}})["q"]["recip_rank"] == 1 / DOCS


finite = st.floats(-1e6, 1e6, allow_nan=False)


@given(arrays(np.float64, (3, 9), elements=st.one_of(finite, st.sampled_from([0.3, 0.3, 0.0]))))
def test_falling_scores_fall_and_stay_near(scores: np.ndarray) -> None:
    scores = -np.sort(-scores, axis=1)
    fallen = falling(scores)
    assert fallen.dtype == np.float32
    assert np.all(np.diff(fallen, axis=1) < 0)
    np.testing.assert_allclose(fallen, scores, rtol=2e-6, atol=1e-30)


def test_a_run_line_has_six_fields_whatever_the_ids_hold() -> None:
    doc_ids = ["a b", "plain", "50%", "tab\there", "nb\u00a0sp", "line\u2028end", "é", "0001"]
    safe, changed = escaped(pa.array(doc_ids, pa.large_string()))
    assert changed == 5
    assert [unquote(i) for i in safe.to_pylist()] == doc_ids
    rows = np.arange(8, dtype=np.int32)[None]
    scores = falling(np.linspace(1, 0, 8)[None])
    text = b"".join(run_lines(pa.array(["q"], pa.large_string()), safe, rows, scores, "bm25-00")).decode()
    lines = [line.split() for line in text.splitlines()]
    assert [len(line) for line in lines] == [6] * 8
    assert [unquote(line[2]) for line in lines] == doc_ids
    assert [(line[0], line[1], line[3], line[5]) for line in lines] == [
        ("q", "Q0", str(i), "bm25-00") for i in range(1, 9)
    ]
    assert [np.float32(line[4]) for line in lines] == scores[0].tolist()
