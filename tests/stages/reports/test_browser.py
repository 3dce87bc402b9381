"""The page in a real browser, from the disk: it searches, can be used by keyboard, asks for nothing and runs no text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stages import report
from stages.report import ReportConfig
from tests.browser import CHROMIUM, Browser
from tests.stages.test_report import FILTERS, HOSTILE, data
from tests.support import run

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

SHOWN = "[...document.querySelectorAll('#results details')].map(d => d.dataset.query)"


@pytest.fixture(scope="module")
def inputs() -> dict[str, Any]:
    return data()


@pytest.fixture(scope="module")
def page(inputs: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = ReportConfig(title=HOSTILE, candidates=20, configuration={"judge": {"note": HOSTILE}})
    return run(report, config, inputs, tmp_path_factory.mktemp("page")).files["index.html"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory):
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def quiet(browser: Browser, page: Path):
    """Whatever a test does: no error, no dialog, and nothing is asked for but the page itself."""
    browser.said.clear()
    browser.asked.clear()
    yield
    assert browser.said == []
    assert {url.partition("#")[0] for url in browser.asked} <= {page.as_uri(), "about:blank"}


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_it_renders_without_scrolling_sideways(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.size(width, dark=dark)
    browser.open(page)
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask("document.querySelector('h1').textContent") == HOSTILE
    assert browser.ask("getComputedStyle(document.body).backgroundColor") == (
        "rgb(20, 23, 26)" if dark else "rgb(247, 247, 245)"
    )
    assert (
        browser.ask(
            "[...document.querySelectorAll('svg.chart')].filter(s => s.getBoundingClientRect().height < 20).length"
        )
        == 0
    )
    # Text of at least 4.5 : 1 against what is behind it, by the formula of WCAG 2.
    assert browser.ask(CONTRAST) == []


CONTRAST = """(() => {
  const light = (c) => c.match(/[\\d.]+/g).slice(0, 3).map(Number).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (n) => { for (; n; n = n.parentElement) { const c = getComputedStyle(n).backgroundColor; if (!/, 0\\)$/.test(c)) return c; } };
  const bad = [];
  for (const node of document.querySelectorAll('main *, header *')) {
    if (![...node.childNodes].some(c => c.nodeType === 3 && c.data.trim()) || !node.getClientRects().length) continue;
    const style = getComputedStyle(node), ink = light(node.closest('svg') ? style.fill : style.color), page = light(behind(node));
    const ratio = (Math.max(ink, page) + 0.05) / (Math.min(ink, page) + 0.05);
    if (ratio < 4.5) bad.push([node.tagName, node.textContent.slice(0, 30), ratio]);
  }
  return bad;
})()"""


def test_search_finds_the_queries_with_all_words(browser: Browser, page: Path, inputs: dict[str, Any]) -> None:
    browser.size(1280)
    queries = [q for q in inputs["queries"].read().to_pylist() if q["split"] == "train"]
    browser.open(page)
    assert browser.ask(SHOWN) == [q["query_id"] for q in queries]
    for words in ("acute", "left ear", "q3", "nothing-has-this"):
        browser.open(page, f"q={words.replace(' ', '+')}")
        wanted = [
            q["query_id"] for q in queries if all(w in f"{q['query_id']} {q['text']}".lower() for w in words.split())
        ]
        assert browser.ask(SHOWN) == wanted
        assert browser.ask("document.getElementById('found').textContent") == f"{len(wanted)} of {len(queries)} queries"


def test_filters_and_documents(browser: Browser, page: Path) -> None:
    browser.open(page, "verdict=starved")
    assert browser.ask(SHOWN) == ["Q4"]
    browser.open(page, f"verdict={FILTERS[0]}")
    assert browser.ask(SHOWN) == [f"Q{i}" for i in range(6)]
    browser.open(page, "q=d24")
    assert browser.ask(SHOWN) == []
    browser.open(page, "q=d24&documents=1")
    assert browser.ask(SHOWN) == ["Q4"]
    browser.open(page, "order=fewest")
    assert browser.ask(SHOWN)[0] == "Q4"


@pytest.mark.parametrize("query", [0, 2, 4, 5])
def test_an_open_query_shows_its_own_documents_in_the_order_of_rank(
    browser: Browser, page: Path, inputs: dict[str, Any], query: int
) -> None:
    browser.open(page, f"q=q{query}&open=1")
    ids = inputs["corpus"].read(["doc_id"]).column(0).to_pylist()
    judged = [r for r in inputs["round-00/judged"].read().to_pylist() if r["query_row"] == query]
    triplets = [r for r in inputs["round-00/triplets"].read().to_pylist() if r["query_row"] == query]
    listed = "[...document.querySelectorAll('#results [data-list={}] li')].map(l => l.dataset.doc)"
    browser.wait("document.querySelector('#results [data-list]')")
    assert browser.ask(listed.format("positives")) == [ids[query], ids[query + 20]]
    assert browser.ask(listed.format("kept")) == [ids[r["doc_row"]] for r in judged if r["verdict"] == "kept"]
    dropped = [r for r in judged if r["verdict"] != "kept"]
    assert browser.ask(listed.format("dropped")) == [ids[r["doc_row"]] for r in dropped]
    says = "[...document.querySelectorAll('#results [data-list=dropped] li')].map(l => l.textContent)"
    for row, text in zip(dropped, browser.ask(says), strict=True):
        evidence = row["evidence"]
        assert f"#{row['rank']}" in text
        assert f"{row['verdict']} {evidence['value']:.3f} against {evidence['limit']:.3f}" in text
    sampled = "[...document.querySelectorAll('#results .sampled')].map(l => l.dataset.doc)"
    assert set(browser.ask(sampled)) == {ids[t["negative_row"]] for t in triplets}
    labels = "[...document.querySelectorAll('#results [data-list=kept] svg')].map(s => s.getAttribute('aria-label'))"
    kept = [r for r in judged if r["verdict"] == "kept"]
    assert browser.ask(labels) == [f"score {r['score']:.4f}, held against 0.5500" for r in kept]


def test_it_can_be_used_by_keyboard_alone(browser: Browser, page: Path) -> None:
    browser.open(page)
    for _ in range(60):
        browser.press("Tab", 9)
        if browser.ask("document.activeElement.id") == "search":
            break
    browser.type("q4")
    browser.wait(f"JSON.stringify({SHOWN}) === {json.dumps(json.dumps(['Q4'], separators=(',', ':')))}")
    for _ in range(8):
        browser.press("Tab", 9)
        if browser.ask("document.activeElement.tagName") == "SUMMARY":
            break
    browser.press("Enter", 13, "\r")
    browser.wait("document.querySelector('#results details').open")
    assert browser.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_every_control_and_chart_has_a_name(browser: Browser, page: Path) -> None:
    browser.open(page)
    unnamed = "[...document.querySelectorAll('input, select')].filter(c => !c.labels.length).map(c => c.id)"
    assert browser.ask(unnamed) == []
    assert browser.ask("[...document.querySelectorAll('svg')].filter(s => !s.getAttribute('aria-label')).length") == 0
    assert browser.ask("document.getElementById('found').getAttribute('aria-live')") == "polite"


def test_texts_are_texts(browser: Browser, page: Path) -> None:
    browser.open(page, "q=q2&open=1")
    browser.wait("document.querySelector('#results [data-list]')")
    assert browser.ask("document.querySelector('#results .asks').textContent") == HOSTILE
    assert browser.ask("document.querySelectorAll('img, iframe, script:not([id=rows])').length") == 1
