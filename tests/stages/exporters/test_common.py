"""Batches, groups, texts and Parquet files that the exporters share."""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.errors import ArtefactError, InputError
from stages.exporters import _common
from stages.exporters._common import Texts, rebatched, whole_groups
from tests.export_world import corpus, queries, triplets
from tests.support import source


def parts(table: pa.Table, cuts: list[int]) -> list[pa.Table]:
    edges = [0, *sorted(c % (table.num_rows + 1) for c in cuts), table.num_rows]
    return [table.slice(a, b - a) for a, b in pairwise(edges)]


@given(n=st.integers(0, 60), cuts=st.lists(st.integers(0, 60), max_size=5), rows=st.integers(1, 20))
def test_rebatched_gives_the_same_tables_for_any_parts(n: int, cuts: list[int], rows: int) -> None:
    table = triplets([(i, i, i) for i in range(n)])
    tables = list(rebatched(source(*parts(table, cuts)), rows))
    assert [t.num_rows for t in tables] == [rows] * (n // rows) + ([n % rows] if n % rows else [])
    assert [x for t in tables for x in t.column("query_row").to_pylist()] == list(range(n))


@given(
    sizes=st.lists(st.integers(1, 9), max_size=12),
    cuts=st.lists(st.integers(0, 90), max_size=4),
    rows=st.integers(1, 15),
)
def test_whole_groups_never_cut_a_group(sizes: list[int], cuts: list[int], rows: int) -> None:
    table = triplets([(q, 0, j) for q, size in enumerate(sizes) for j in range(size)])
    found = []
    for batch, bounds in whole_groups(source(*parts(table, cuts)), ("query_row",), rows):
        assert bounds[0] == 0
        assert bounds[-1] == batch.num_rows
        column = batch.column("query_row").to_pylist()
        found += [column[a:b] for a, b in pairwise(bounds)]
    assert found == [[q] * size for q, size in enumerate(sizes)]


def test_documents_join_the_title_and_repeat_rows() -> None:
    texts = Texts.read(
        source(queries(["q"], ["ask: "])), source(corpus(["a", "b", "c"], ["T", None, " "]).slice(0, 2), corpus(["x"]))
    )
    assert texts.documents(np.array([2, 0, 0, 1])).to_pylist() == ["x", "T a", "T a", "b"]
    assert texts.anchors(np.array([0, 0]), prompts=True).to_pylist() == ["ask: q", "ask: q"]
    assert texts.anchors(np.array([0]), prompts=False).to_pylist() == ["q"]


@pytest.mark.parametrize("row", [-1, 3])
def test_a_row_that_is_not_there_is_an_artefact_error(row: int) -> None:
    texts = Texts.read(source(queries(["q"])), source(corpus(["a", "b", "c"])))
    with pytest.raises(ArtefactError, match="not there") as raised:
        texts.documents(np.array([0, row]))
    assert f"row {row} of 3" in str(raised.value)


@pytest.mark.parametrize(("text", "reason"), [("", "blank"), (" \u2003\n", "blank"), ("a\0b", "NUL")])
def test_texts_that_no_trainer_takes_are_refused_with_their_ids(text: str, reason: str) -> None:
    texts = Texts.read(source(queries(["fine", text])), source(corpus(["fine", *[text] * 7])))
    with pytest.raises(InputError, match=reason) as raised:
        texts.documents(np.arange(8))
    assert raised.value.where == "id 'd1', 'd2', 'd3', 'd4', 'd5' and 2 more"
    with pytest.raises(InputError, match=reason) as raised:
        texts.anchors(np.arange(2), prompts=False)
    assert raised.value.where == "id 'q1'"


def test_blank_is_what_python_calls_white_space() -> None:
    every = [chr(i) for i in range(sys.maxunicode + 1) if not 0xD800 <= i < 0xE000]
    found = _common._blank(pa.array([*every, "", " \t", " x"]))
    assert found.tolist() == [not text.strip() for text in [*every, "", " \t", " x"]]


def test_a_blank_text_with_a_title_is_a_text() -> None:
    texts = Texts.read(source(queries(["q"])), source(corpus([""], ["Title"])))
    assert texts.documents(np.array([0])).to_pylist() == ["Title "]
