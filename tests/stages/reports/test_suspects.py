"""The suspects of the page are those of the catalog's `fn_suspects`, whatever the blocks they are looked for in."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.catalog import build, connect, query
from stages import report
from stages.report import ReportConfig
from stages.reports import suspects as asked
from stages.suspecting import SIGNS
from tests.pipeline import test_macros
from tests.pipeline.test_catalog import stored
from tests.stages.test_report import data, parsed
from tests.support import run, source, table


def found(tables: dict[str, Any], inputs: dict[str, Any], pool: int) -> list[tuple[Any, ...]]:
    rows = asked.suspects(tables, inputs, 100, pool)
    return [
        (s.query_row, s.doc_row, s.positive_row, ", ".join(s.signs), s.overlap, s.gap, s.score, s.rank) for s in rows
    ]


@pytest.mark.parametrize("block", [1, 2, 1000])
@pytest.mark.parametrize("pool", [1, 3, 20_000])
def test_the_page_and_the_catalog_ask_the_same(tmp_path: Path, monkeypatch, block: int, pool: int) -> None:
    monkeypatch.setattr(asked, "_BLOCK", block)
    build(tmp_path / "catalog.duckdb", stored(tmp_path, test_macros.TABLES))
    inputs = {name: source(t) for (name, round), t in test_macros.TABLES.items() if round is None}
    several = 0
    for round in (0, 1):
        tables = {name: source(t) for (name, number), t in test_macros.TABLES.items() if number == round}
        with connect(tmp_path / "catalog.duckdb", tmp_path) as connection:
            _, rows = query(
                connection,
                "SELECT query_row, doc_row, (SELECT row FROM corpus WHERE doc_id = positive_id), signs, overlap, gap, score, rank "
                f"FROM fn_suspects(pool := {pool}) WHERE round = {round}",
            )
        assert found(tables, inputs, pool) == rows
        several += len(rows)
    assert several >= (1 if pool == 1 else 2)


def test_a_suspect_stands_beside_the_positive_that_it_resembles_with_its_signs(tmp_path: Path) -> None:
    inputs = data()
    rows = [
        {"query_row": q, "doc_row": d, "teacher": "big", "score": s}
        for q, d, s in ((3, 3, 0.5), (3, 19, 0.6), (3, 23, 0.7))
    ]
    inputs["round-00/teacher_scores"] = source(table("teacher_scores", rows))
    corpus = inputs["corpus"].read().to_pylist()
    wanted = asked.suspects(
        {n.partition("/")[2]: t for n, t in inputs.items() if n.startswith("round-00/")}, inputs, 40
    )
    assert [(s.query_row, s.doc_row) for s in wanted if "teacher" in s.signs] == [(3, 19)]
    page = parsed(run(report, ReportConfig(suspects=40), inputs, tmp_path))
    shown = page.all("article", class_="suspect")
    assert [(a.attributes["data-of"], a.attributes["data-suspect"]) for a in shown] == [
        (f"Q{s.query_row}", corpus[s.doc_row]["doc_id"]) for s in wanted
    ]
    for article, one in zip(shown, wanted, strict=True):
        assert [b.text for b in article.all("b", class_="sign")] == one.signs
        positive, kept = article.one("div", class_="two").all("div")
        assert positive.one("code").text == f"D{one.positive_row}"
        assert kept.one("code").text == corpus[one.doc_row]["doc_id"]
        assert kept.one("h4").text.endswith(f"{one.score:.3f}")
        assert re.search(
            rf"{abs(100 * one.gap):.1f}% {'below' if one.gap >= 0 else 'above'} the positive", article.text
        )
        words = {w.casefold() for w in re.findall(r"\w{3,}", positive.one("p", class_="text").text)}
        assert {m.text.casefold() for m in kept.all("mark")} == words & {
            w.casefold() for w in re.findall(r"\w{3,}", kept.one("p", class_="text").text)
        }
    assert [dt.text for dt in page.one("dl", class_="signs").all("dt")] == list(SIGNS)


@pytest.mark.parametrize(("gap", "says"), [(-50_000.0, "more than ten times its score above"), (-9.0, "900.0% above")])
def test_a_gap_to_a_positive_whose_score_is_near_zero_is_said_in_words(
    tmp_path: Path, monkeypatch, gap: float, says: str
) -> None:
    find = asked.suspects
    monkeypatch.setattr(report, "suspects", lambda *given: [replace(one, gap=gap) for one in find(*given)])
    page = parsed(run(report, ReportConfig(suspects=1), data(), tmp_path))
    assert f"{says} the positive it was held against" in page.one("article", class_="suspect").text
