"""What the page says in a real browser, figure for figure: the tiles, the verdict and the gap of every candidate, the curves, the
estimate, and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages import report
from stages.report import ReportConfig
from tests.browser import CHROMIUM, Browser
from tests.stages.reports.test_thumbnails import COLOURS, pictured
from tests.stages.test_report import estimated
from tests.support import run, source, table

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory):
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.size(1280)
        yield opened


@pytest.fixture(autouse=True)
def quiet(browser: Browser):
    """No error, and nothing is asked for but pages of this disk and pictures inside them."""
    browser.said.clear()
    browser.asked.clear()
    yield
    assert browser.said == []
    assert {url.partition(":")[0] for url in browser.asked} <= {"file", "about", "data"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    inputs, estimates = estimated(tmp_path_factory.mktemp("estimated"))
    curve = [{"step": s, "epoch": s / 10, "ndcg": 0.3 + s * (20 - s) / 1000} for s in range(0, 20, 5)]
    return inputs | {"round-00/dev_curve": source(table("dev_curve", curve))}, estimates


@pytest.fixture(scope="module")
def page(world: tuple[dict[str, Any], Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(report, ReportConfig(candidates=20), world[0], tmp_path_factory.mktemp("page")).files["index.html"]


def texts(browser: Browser, selector: str) -> list[str]:
    found = f"[...document.querySelectorAll({selector!r})].map(n => n.textContent.replace(/\\s+/g, ' ').trim())"
    return browser.ask(found)


def overall(estimates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [r for r in estimates if r["band"] == "overall" and r["estimator"] == "hidden_positive"]


def test_the_tiles_are_the_figures_of_the_tables(browser: Browser, page: Path, world: Any) -> None:
    inputs, estimates = world
    browser.open(page)
    gained = next(
        r for r in inputs["round-01/comparisons"].read().to_pylist()
        if (r["against_system"], r["measure"], r["cutoff"]) == ("dense", "nDCG", 10)
    )  # fmt: skip
    judged = inputs["round-00/judged"].read().to_pylist()
    kept = sum(r["verdict"] == "kept" for r in judged)
    leak = overall(estimates)[-1]
    assert leak["hidden"] >= 20
    assert texts(browser, ".glance li") == [
        f"gain in nDCG@10 {gained['difference']:+.4f} trained minus untrained, {gained['low']:+.4f} to {gained['high']:+.4f}, "
        f"on {gained['queries']} test queries",
        f"triplets to train on {inputs['round-00/triplets'].rows} of {len(judged)} candidates judged, "
        f"{kept / len(judged):.0%} kept, round 0",
        f"false negatives that pass {leak['rate']:.1%} leak rate, {leak['low']:.1%} to {leak['high']:.1%}, "
        f"{leak['leaked']} of {leak['hidden']} hidden positives",
        "recall of the index 0.9100 flat, first 10 documents against exact search, round 1",
    ]


def test_the_estimate_is_that_of_the_table(browser: Browser, page: Path, world: Any) -> None:
    browser.open(page)
    rows = overall(world[1])
    assert texts(browser, "table.leaks[data-estimator=hidden_positive] tbody td[data-label='Leaked']") == [
        f"{r['leaked']} of {r['hidden']}" for r in rows
    ]
    assert texts(browser, "table.leaks[data-estimator=hidden_positive] tbody .figure") == [
        f"{r['rate']:.1%}" for r in rows
    ]


def test_the_curves_pass_through_what_was_logged(browser: Browser, page: Path, world: Any) -> None:
    """A point's place is linear in its value: the distances between points are in the ratio of the values'."""
    browser.open(page)
    points = (
        "(n => n.getAttribute('d').slice(1).split('L').map(p => p.split(/[ ,]/).map(Number)))"
        "(document.querySelector('svg[aria-label=\"{}\"] path.line'))"
    )
    for label, name, column in (
        ("Training loss by step", "training_log", "loss"),
        ("nDCG@10 on dev by step", "dev_curve", "ndcg"),
    ):
        rows = world[0][f"round-00/{name}"].read().to_pylist()
        drawn = browser.ask(points.format(label))
        assert len(drawn) == len(rows)
        for axis, values in ((0, [r["step"] for r in rows]), (1, [r[column] for r in rows])):
            low, high = min(values), max(values)
            at = {v: p[axis] for v, p in zip(values, drawn, strict=True)}
            for value, point in zip(values, drawn, strict=True):
                wanted = at[low] + (value - low) / (high - low) * (at[high] - at[low])
                assert point[axis] == pytest.approx(wanted, abs=0.11)


@pytest.mark.parametrize("query", range(6))
def test_every_candidate_has_its_verdict_its_numbers_and_its_place_beside_the_positive(
    browser: Browser, page: Path, world: Any, query: int
) -> None:
    inputs = world[0]
    browser.open(page, f"q=q{query}&open=1")
    browser.wait("document.querySelector('#results [data-list]')")
    ids = inputs["corpus"].read(["doc_id"]).column(0).to_pylist()
    judged = {ids[r["doc_row"]]: r for r in inputs["round-00/judged"].read().to_pylist() if r["query_row"] == query}
    shown = browser.ask(
        "[...document.querySelectorAll('#results [data-list=kept] li, #results [data-list=dropped] li')].map(l => ({doc: l.dataset.doc,"
        "list: l.closest('[data-list]').dataset.list, verdict: l.dataset.verdict ?? 'kept', rank: l.querySelector('.rank').textContent,"
        "score: l.querySelector('.value').textContent, gap: l.querySelector('.gap')?.textContent ?? '',"
        "bar: Number(l.querySelector('rect.bar').getAttribute('width')), mark: l.querySelector('path.mark').getAttribute('d')}))"
    )
    assert {one["doc"] for one in shown} == set(judged)
    for one in shown:
        row = judged[one["doc"]]
        assert one["list"] == ("kept" if row["verdict"] == "kept" else "dropped")
        assert (one["verdict"], one["rank"]) == (row["verdict"], f"#{row['rank']}")
        assert float(one["score"]) == pytest.approx(row["score"], abs=0.0006)
        gap = (row["positive_score"] - row["score"]) / abs(row["positive_score"])
        assert float(one["gap"].replace("−", "-").rstrip("%")) == pytest.approx(
            100 * gap, abs=0.08
        )  # four decimals are stored
        beyond = one["bar"] - float(one["mark"][1:].split(" ")[0])
        assert beyond <= 0.1 if gap >= 0 else beyond >= -0.1


def test_pictures_are_shown_in_the_searchable_list_each_beside_its_own_text(browser: Browser, tmp_path: Path) -> None:
    inputs = pictured()
    page = run(report, ReportConfig(candidates=20), inputs, tmp_path).files["index.html"]
    corpus = {row["doc_id"]: row for row in inputs["corpus"].read().to_pylist()}
    browser.open(page, "q=q2&open=1")
    browser.wait("document.querySelector('#results [data-list]')")
    browser.wait("[...document.querySelectorAll('#results img')].every(i => i.complete)")
    colour = """[...document.querySelectorAll('#results li.document')].map(l => {
        const c = document.createElement('canvas').getContext('2d'), i = l.querySelector('img');
        c.drawImage(i, 0, 0);
        return [l.dataset.doc, i.alt, i.naturalWidth, i.naturalHeight, ...c.getImageData(30, 20, 1, 1).data.slice(0, 3)];
    })"""
    shown = browser.ask(colour)
    assert len(shown) > 10
    for doc, alt, width, height, *pixel in shown:
        assert (alt, width, height) == (corpus[doc]["text"], 64, 43)
        assert max(abs(a - b) for a, b in zip(pixel, COLOURS[corpus[doc]["picture"] % 30], strict=True)) <= 4
    assert browser.ask("document.querySelector('#results summary img').naturalWidth") == 64
