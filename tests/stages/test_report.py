from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import estimate, judge, report
from stages.errors import ArtefactError
from stages.estimate import EstimateConfig
from stages.judge import JudgeConfig
from stages.report import ReportConfig
from stages.reports.leaks import Leak
from tests.judging_world import judgement, world
from tests.support import File, Result, run, source, table

HOSTILE = "</title><script>alert('x')</script><img src=http://evil.example/x onerror=alert(1)> & \"quoted\""
ROOT = Path(__file__).parents[2]
DOCS, QUERIES = 40, 9  # queries 0 to 5 are of the split train and mined, the others are of test
FILTERS = ["known_positive", "relative_margin"]
MEASURES = [("nDCG", 10), ("MRR", 10), ("Recall", 100), ("MAP", None)]


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        parts = [c if isinstance(c, str) else c.text for c in self.children]
        return re.sub(r"\s+", " ", "".join(parts)).strip()

    def all(self, tag: str | None = None, **attributes: str) -> list[Element]:
        wanted = {k.strip("_").replace("_", "-"): v for k, v in attributes.items()}
        found = []
        for child in self.children:
            if isinstance(child, Element):
                matches = all(
                    v in child.attributes.get(k, "").split(" ") or child.attributes.get(k) == v
                    for k, v in wanted.items()
                )
                found += [child] if matches and tag in (None, child.tag) else []
                found += child.all(tag, **attributes)
        return found

    def one(self, tag: str | None = None, **attributes: str) -> Element:
        (found,) = self.all(tag, **attributes)
        return found


class Parser(HTMLParser):
    """The page as a tree; fails on a tag that is not closed in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {k: v or "" for k, v in attrs})
        self.open[-1].children.append(element)
        if tag not in ("img", "input", "meta"):
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parsed(result: Result) -> Element:
    parser = Parser()
    parser.feed(result.files["index.html"].read_text(encoding="utf-8"))
    assert len(parser.open) == 1
    return parser.open[0]


def data(rounds: int = 2, mined: int | None = None, seed: int = 0) -> dict[str, Any]:
    """Tables of a corpus, and of `rounds` rounds of which `mined` (all but the last) have mined and trained."""
    generator = np.random.default_rng(seed)
    words = [
        "acute",
        "chronic",
        "renal",
        "failure",
        "of",
        "the",
        "left",
        "right",
        "ear",
        "with",
        "hearing",
        "loss",
        "in",
        "newborn",
    ]

    def text() -> str:
        return " ".join(generator.choice(words, 6))

    corpus = [
        {
            "row": i,
            "doc_id": f"D{i}",
            "title": f"Title {i}" if i % 4 == 0 else None,
            "text": f"{text()} {i}",
            "text_hash": i,
        }
        for i in range(DOCS)
    ]
    corpus[7]["text"] = corpus[7]["doc_id"] = HOSTILE
    queries = [
        {
            "row": i,
            "query_id": f"Q{i}",
            "text": f"{text()} {i}",
            "split": "train" if i < 6 else "test",
            "source": "given",
            "text_hash": i,
        }
        for i in range(QUERIES)
    ]
    queries[2]["text"] = HOSTILE
    qrels = [
        {"query_row": q, "doc_row": d, "relevance": r, "split": queries[q]["split"], "source": "given"}
        for q in range(QUERIES)
        for d, r in ((q, 1), (q + 20, 2), (q + 30, 0))
    ]
    inputs = {
        name: source(table(name, rows)) for name, rows in {"corpus": corpus, "queries": queries, "qrels": qrels}.items()
    }
    for round in range(rounds):
        name = f"round-{round:02d}"
        inputs |= {f"{name}/{k}": v for k, v in measured(round, generator).items()}
        if round < (rounds - 1 if mined is None else mined):
            inputs |= {f"{name}/{k}": v for k, v in mining(round, generator).items()}
    return inputs


def measured(round: int, generator: np.random.Generator) -> dict[str, Any]:
    metrics, comparisons = [], []
    for system in ("bm25", "dense") if round == 0 else ("dense",):
        for measure, cutoff in MEASURES:
            value = float(generator.uniform(0.3, 0.4) + 0.2 * (system == "dense") + 0.1 * round)
            common = {"round": round, "system": system, "split": "test", "measure": measure, "cutoff": cutoff}
            metrics.append({**common, "value": value, "low": value - 0.03, "high": value + 0.02})
            metrics += [{**common, "query_row": q, "value": float(generator.random())} for q in (6, 7, 8)]
    for against, system in [(0, "bm25")] if round == 0 else [(0, "dense"), (0, "bm25")]:
        for measure, cutoff in MEASURES:
            d = float(generator.uniform(-0.05, 0.1))
            names = {"against_round": against, "against_system": system, "measure": measure, "cutoff": cutoff}
            p = {"p_value": float(generator.random()) if cutoff else 1 / 20001}
            comparisons.append(
                {
                    "round": round,
                    **names,
                    "split": "test",
                    "difference": d,
                    "low": d - 0.02,
                    "high": d + 0.01,
                    **p,
                    "queries": 3,
                }
            )
    facts = {
        "kind": {"name": "flat"},
        "rows": DOCS,
        "dimensions": 8,
        "recall": {"depth": 10, "sample": 9, "value": 0.9 + round / 100},
    }
    return {
        "metrics": source(table("metrics", metrics)),
        "comparisons": source(table("comparisons", comparisons)),
        "corpus.faiss": File(Path("/nowhere"), facts=facts),
    }


def mining(round: int, generator: np.random.Generator) -> dict[str, Any]:
    """Query q has positives q and q + 20, and is judged against other documents; query 4 keeps nothing."""
    judged, positives, triplets, shortfall = [], [], [], []
    for q in range(6):
        scores = np.sort(generator.uniform(0.2, 0.9, 12))[::-1]
        docs = [q, *sorted({7, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19} - {q}), 33][:12]
        kept = []
        for rank, (doc, score) in enumerate(zip(docs, scores.tolist(), strict=True), 1):
            if doc == q:
                verdict, rule, value, limit = "known_positive", "known_positive", 1.0, 0.0
            elif rank <= 4 or q == 4:
                verdict, rule, value, limit = "relative_margin", "relative_margin", score, 0.5 + q / 100
            else:
                verdict, rule, value, limit = "kept", "relative_margin", score, 0.5 + q / 100
                kept.append((doc, rank, score))
            evidence = {"rule": rule, "value": value, "limit": limit}
            row = {"query_row": q, "doc_row": doc, "rank": rank, "score": score, "retriever": "dense"}
            judged.append(
                {**row, "positive_row": q + 20, "positive_score": 0.55, "verdict": verdict, "evidence": evidence}
            )
        for positive, score, rank in ((q, float(scores[0]), 1), (q + 20, 0.55, None)):
            positives.append({"query_row": q, "positive_row": positive, "score": score, "rank": rank})
            chosen = kept[: 1 if q == 5 else 3]
            for doc, at, s in chosen:
                common = {"query_row": q, "positive_row": positive, "negative_row": doc, "rank": at}
                triplets.append(
                    {
                        **common,
                        "positive_score": score,
                        "negative_score": s,
                        "sampler": "top",
                        "seed": 0,
                        "round": round,
                    }
                )
            if len(chosen) < 3:
                shortfall.append({"query_row": q, "positive_row": positive, "wanted": 3, "got": len(chosen)})
    log = [
        {"step": 10 * i, "epoch": i / 10, "loss": 2.0 / i, "learning_rate": 1e-5, "masked": 0.01} for i in range(1, 11)
    ]
    facts = {"comparison": "least_positive", "filters": [{"name": f} for f in FILTERS]}
    half = len(judged) // 2 + 5  # a query lies in both parts of the table
    return {
        "judged": source(table("judged", judged[:half]), table("judged", judged[half:]), **facts),
        "positives": source(table("positives", positives)),
        "triplets": source(table("triplets", triplets)),
        "shortfall": source(table("shortfall", shortfall)),
        "training_log": source(table("training_log", log)),
    }


def texts_of(page: Element, **table_: str) -> dict[str, list[list[str]]]:
    rows = page.one("table", **table_).one("tbody").all("tr")
    return {row.one("th").text: [[s.text for s in cell.all("span")] for cell in row.all("td")] for row in rows}


def test_the_headline_shows_every_mean_with_its_interval(tmp_path: Path) -> None:
    inputs = data(rounds=3)
    page = parsed(run(report, ReportConfig(), inputs, tmp_path))
    shown = texts_of(page, class_="means")
    assert list(shown) == ["BM25", "Untrained", "Trained, round 1", "Trained, round 2"]
    heads = [th.text for th in page.one("table", class_="means").one("thead").all("th")]
    assert heads == ["System", "nDCG@10", "MRR@10", "Recall@100", "MAP"]
    keys = {
        ("BM25", 0, "bm25"),
        ("Untrained", 0, "dense"),
        ("Trained, round 1", 1, "dense"),
        ("Trained, round 2", 2, "dense"),
    }
    for label, round, system in keys:
        rows = [
            r
            for r in inputs[f"round-{round:02d}/metrics"].read().to_pylist()
            if r["query_row"] is None and r["system"] == system
        ]
        assert shown[label] == [[f"{r['value']:.4f}", f"{r['low']:.4f} – {r['high']:.4f}"] for r in rows]


def test_differences_show_interval_and_p_value(tmp_path: Path) -> None:
    inputs = data()
    page = parsed(run(report, ReportConfig(), inputs, tmp_path))
    shown = texts_of(page, class_="differences")
    assert list(shown) == ["Untrained minus BM25", "Trained, round 1 minus Untrained", "Trained, round 1 minus BM25"]
    rows = [r for r in inputs["round-01/comparisons"].read().to_pylist() if r["against_system"] == "dense"]
    expected = [
        [
            f"{r['difference']:+.4f}",
            f"{r['low']:+.4f} to {r['high']:+.4f}",
            f"p = {r['p_value']:.4f}" if r["cutoff"] else "p < 0.0001",
        ]
        for r in rows
    ]
    assert shown["Trained, round 1 minus Untrained"] == expected


def test_each_query_stands_beside_its_own_documents(tmp_path: Path) -> None:
    inputs = data(rounds=3)
    page = parsed(run(report, ReportConfig(queries=6, candidates=20), inputs, tmp_path))
    articles = page.all("article", class_="query")
    assert [a.attributes["data-query"] for a in articles] == [f"Q{q}" for q in range(6)]
    doc_ids = inputs["corpus"].read(["doc_id"]).column(0).to_pylist()
    for q, article in enumerate(articles):
        for round in range(2):
            sides = article.one("div", data_round=str(round))
            judged = [r for r in inputs[f"round-{round:02d}/judged"].read().to_pylist() if r["query_row"] == q]
            triplets = [r for r in inputs[f"round-{round:02d}/triplets"].read().to_pylist() if r["query_row"] == q]
            assert listed(sides, "positives") == [doc_ids[q], doc_ids[q + 20]]
            assert listed(sides, "kept") == [doc_ids[r["doc_row"]] for r in judged if r["verdict"] == "kept"]
            assert listed(sides, "dropped") == [doc_ids[r["doc_row"]] for r in judged if r["verdict"] != "kept"]
            sampled = [li.attributes["data-doc"] for li in sides.all("li", class_="sampled")]
            assert set(sampled) == {doc_ids[t["negative_row"]] for t in triplets}
            for row in judged:
                (item,) = [
                    li
                    for name in ("kept", "dropped")
                    for li in side(sides, name).all("li")
                    if li.attributes["data-doc"] == doc_ids[row["doc_row"]]
                ]
                assert item.one("span", class_="rank").text == f"#{row['rank']}"
                assert item.one("span", class_="value").text == f"{row['score']:.3f}"
                assert item.attributes["data-verdict"] == row["verdict"]
                assert item.one("svg").attributes["aria-label"] == f"score {row['score']:.4f}, held against 0.5500"
                if row["verdict"] == "relative_margin":
                    assert f"relative_margin {row['score']:.3f} against {0.5 + q / 100:.3f}" in item.text


def side(sides: Element, name: str) -> Element:
    return sides.one("section", data_list=name)


def listed(sides: Element, name: str) -> list[str]:
    return [li.attributes["data-doc"] for li in side(sides, name).all("li")]


def test_what_is_not_shown_is_counted_and_sampled_ones_come_first(tmp_path: Path) -> None:
    inputs = data()
    inputs["round-00/triplets"] = source(
        table(
            "triplets",
            [
                {
                    "query_row": 0,
                    "positive_row": 0,
                    "negative_row": 19,
                    "rank": 12,
                    "sampler": "x",
                    "seed": 0,
                    "round": 0,
                    "negative_score": 0.1,
                }
            ],
        )
    )
    judged = [r for r in inputs["round-00/judged"].read().to_pylist() if r["query_row"] == 0]
    kept = [r["doc_row"] for r in judged if r["verdict"] == "kept"]
    assert 19 in kept[3:]
    page = parsed(run(report, ReportConfig(queries=6, candidates=2), inputs, tmp_path))
    sides = page.one("article", data_query="Q0")
    assert listed(sides, "kept") == [f"D{kept[0]}", "D19"]
    assert f"and {len(kept) - 2} more" in side(sides, "kept").text


def test_the_funnel_shows_what_each_filter_took(tmp_path: Path) -> None:
    inputs = data()
    result = run(report, ReportConfig(), inputs, tmp_path)
    chart = parsed(result).one("svg", aria_label="Candidates left after each filter")
    texts = [t.text for t in chart.all("text")]
    counts = {"known_positive": 6, "relative_margin": 3 * 5 + 11, "kept": 8 * 5}
    sampled = len({(t["query_row"], t["negative_row"]) for t in inputs["round-00/triplets"].read().to_pylist()})
    assert texts[0::2] == ["candidates", "known_positive", "relative_margin", "kept", "sampled"]
    assert texts[1] == "72"
    assert texts[3].startswith("−6 → 66 ")
    assert texts[5].startswith(f"−{72 - 6 - 40} → 40 ")
    assert texts[9].startswith(f"−{40 - sampled} → {sampled} ")
    figures = json.loads(result.files["metrics.json"].read_text())
    assert {k: figures[f"round-00.verdict.{k}"] for k in counts} == counts
    assert figures["round-00.candidates"] == 72
    assert figures["round-00.triplets"] == inputs["round-00/triplets"].rows
    assert (figures["round-00.pairs"], figures["round-00.pairs.short"]) == (12, 4)


def test_histograms_count_queries_and_pairs(tmp_path: Path) -> None:
    page = parsed(run(report, ReportConfig(), data(), tmp_path))
    kept = page.one("svg", aria_label="Queries by negatives kept")
    assert [t.text for t in kept.all("title")] == ["0: 1", *[f"{i}: 0" for i in range(1, 8)], "8: 5"]
    sampled = page.one("svg", aria_label="Pairs by negatives sampled")
    assert [t.text for t in sampled.all("title")] == ["0: 2", "1: 2", "2: 0", "3: 8"]
    scores = page.one("svg", aria_label="Scores of positives, kept and dropped")
    assert {"positives", "kept", "dropped"} <= {t.text for t in scores.all("text")}
    assert "12 positives, 40 kept, 32 dropped" in page.text


def test_held_against_each_positive_apart_a_document_is_kept_once_for_a_query(tmp_path: Path) -> None:
    inputs = data()
    old = inputs["round-00/judged"]
    rows = old.read().to_pylist()
    twice = [{**r, "positive_row": p} for q in range(6) for p in (q, q + 20) for r in rows if r["query_row"] == q]
    facts = {**old.facts, "comparison": "per_positive"}
    inputs["round-00/judged"] = source(*(table("judged", twice[i : i + 7]) for i in range(0, len(twice), 7)), **facts)
    page = parsed(run(report, ReportConfig(), inputs, tmp_path))
    kept = page.one("svg", aria_label="Queries by negatives kept")
    assert [t.text for t in kept.all("title")] == ["0: 1", *[f"{i}: 0" for i in range(1, 8)], "8: 5"]
    funnel = [t.text for t in page.one("svg", aria_label="Candidates left after each filter").all("text")]
    assert funnel[1] == "144"
    assert funnel[-1].startswith(f"−{80 - inputs['round-00/triplets'].rows} → {inputs['round-00/triplets'].rows} ")


def test_metrics_json_is_flat_and_complete(tmp_path: Path) -> None:
    inputs = data()
    result = run(report, ReportConfig(), inputs, tmp_path)
    figures = json.loads(result.files["metrics.json"].read_text(), parse_constant=pytest.fail)
    assert all(isinstance(v, int | float) for v in figures.values())
    for round in range(2):
        for row in inputs[f"round-{round:02d}/metrics"].read().to_pylist():
            if row["query_row"] is None:
                name = row["measure"] + (f"@{row['cutoff']}" if row["cutoff"] else "")
                key = f"round-{round:02d}.{row['system']}.test.{name}"
                assert [figures[key], figures[f"{key}.low"], figures[f"{key}.high"]] == [
                    row["value"],
                    row["low"],
                    row["high"],
                ]
    (row,) = [
        r
        for r in inputs["round-01/comparisons"].read().to_pylist()
        if r["measure"] == "MAP" and r["against_system"] == "dense"
    ]
    key = "round-01.dense.test.MAP.minus.round-00.dense"
    assert [figures[key], figures[f"{key}.p_value"]] == [row["difference"], row["p_value"]]
    assert figures["round-01.index.recall"] == 0.91
    assert figures["round-00.training.loss"] == 0.2


def test_hostile_texts_do_nothing_and_the_page_asks_for_nothing(tmp_path: Path) -> None:
    result = run(report, ReportConfig(title=HOSTILE, queries=6, candidates=20), data(), tmp_path)
    page = parsed(result)
    assert page.all("img") == page.all("link") == []
    rows, script = page.all("script")
    assert re.fullmatch(r"[A-Za-z0-9+/=]*", rows.text)
    assert script.text == re.sub(r"\s+", " ", (ROOT / "stages/reports/browse.js").read_text()).strip()
    assert all(a.attributes["href"].startswith("#") for a in page.all("a"))
    assert page.one("h1").text == HOSTILE
    assert page.one("article", data_query="Q2").one("h3").text == HOSTILE
    assert HOSTILE in {li.attributes["data-doc"] for li in page.all("li", class_="document")}
    elements = page.all()
    assert not [
        e
        for e in elements
        for name in e.attributes
        if name.startswith("on") or name in ("style", "src") or (name == "href" and e.tag != "a")
    ]
    policy = page.one("meta", http_equiv="Content-Security-Policy").attributes["content"]
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[^' ]+';", policy)
    assert "unsafe" not in policy
    assert "url(" not in page.one("style").text
    assert "@import" not in page.one("style").text


def test_the_policy_allows_exactly_the_style_that_is_there(tmp_path: Path) -> None:
    import base64
    import hashlib

    text = run(report, ReportConfig(), data(), tmp_path).files["index.html"].read_text(encoding="utf-8")
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    assert f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'" in text


def test_the_same_bytes_twice_and_other_queries_with_another_seed(tmp_path: Path) -> None:
    a, b, c = (
        run(report, ReportConfig(queries=2, seed=s), data(), tmp_path / x) for x, s in (("a", 0), ("b", 0), ("c", 4))
    )
    for name in ("index.html", "metrics.json"):
        assert a.files[name].read_bytes() == b.files[name].read_bytes()
    drawn = [[e.attributes["data-query"] for e in parsed(r).all("article", class_="query")] for r in (a, c)]
    assert drawn[0] != drawn[1]


def test_a_round_that_only_measured_and_no_round_at_all(tmp_path: Path) -> None:
    only = parsed(run(report, ReportConfig(), data(rounds=1, mined=0), tmp_path / "a"))
    assert only.all("article") == []
    assert only.one("b", class_="recall").text == "0.9000"
    nothing = run(report, ReportConfig(), {k: v for k, v in data().items() if "/" not in k}, tmp_path / "b")
    assert "Nothing has been measured yet." in parsed(nothing).text
    assert json.loads(nothing.files["metrics.json"].read_text()) == {}


def test_another_split_is_shown_and_said(tmp_path: Path) -> None:
    result = run(report, ReportConfig(split="dev"), data(), tmp_path)
    assert any("'dev'" in m for m in result.messages)
    assert parsed(result).one("table", class_="means").attributes["data-split"] == "test"


def test_a_figure_that_is_no_number_is_refused(tmp_path: Path) -> None:
    inputs = data()
    rows = inputs["round-01/metrics"].read().to_pylist()
    rows[0]["value"] = float("nan")
    inputs["round-01/metrics"] = source(table("metrics", rows))
    with pytest.raises(ArtefactError, match="not a number") as error:
        run(report, ReportConfig(), inputs, tmp_path)
    assert "round-01.dense.test.nDCG@10" in str(error.value)


def test_long_texts_end_in_an_ellipsis(tmp_path: Path) -> None:
    page = parsed(run(report, ReportConfig(characters=20, queries=6), data(), tmp_path))
    texts = [p.text for p in page.all("p", class_="text")]
    assert any(t.endswith("…") for t in texts)
    assert (
        max(len(p.children[-1].strip()) for p in page.all("p", class_="text") if isinstance(p.children[-1], str)) <= 20
    )


def test_a_round_in_which_nothing_survives_is_shown(tmp_path: Path) -> None:
    inputs = data()
    for name in ("judged", "triplets"):
        inputs[f"round-00/{name}"] = source(table(name, []))
    pairs = inputs["round-00/positives"].read().to_pylist()
    starved = [{**pair, "wanted": 3, "got": 0} for pair in pairs]
    inputs["round-00/shortfall"] = source(table("shortfall", starved))
    page = parsed(run(report, ReportConfig(), inputs, tmp_path))
    assert listed(page.one("article", data_query="Q0"), "kept") == []
    assert [t.text for t in page.one("svg", aria_label="Queries by negatives kept").all("title")] == ["0: 6"]
    assert [t.text for t in page.one("svg", aria_label="Pairs by negatives sampled").all("title")] == ["0: 12"]


def estimated(tmp_path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A report's inputs with the estimates of a real trial in round 0, and these estimates."""
    chance = np.random.default_rng(3)
    queries = {}
    for q in range(40):
        scores = {50 * q + d: float(s) for d, s in enumerate(np.sort(chance.normal(0.5, 0.1, 20))[::-1])}
        queries[q] = {"positives": {d: s for d, s in scores.items() if d % 4 == 0}, "found": scores}
    inputs = world(2000, queries, qrels=[judgement(q, 50 * q + 1, 0) for q in range(40)]).inputs()
    inputs |= run(judge, JudgeConfig(), inputs, tmp_path / "judge").inputs()
    made = run(estimate, EstimateConfig(), inputs, tmp_path / "estimate")
    return {**data(), "round-00/estimates": made.tables["estimates"]}, made.rows("estimates")


def test_what_leaks_stands_beside_what_is_thrown_away(tmp_path: Path) -> None:
    inputs, rows = estimated(tmp_path)
    result = run(report, ReportConfig(), inputs, tmp_path)
    page = parsed(result)
    overall = [r for r in rows if r["band"] == "overall" and r["estimator"] == "hidden_positive"]
    shown = {
        row.one("th").text: [cell.text for cell in row.all("td")]
        for row in page.one("table", data_estimator="hidden_positive").one("tbody").all("tr")
    }
    assert list(shown) == ["known_positive", "same_text", "relative_margin", "all together"]
    assert 0 < overall[-1]["leaked"] < overall[-1]["hidden"]
    for row, cells in zip(overall, shown.values(), strict=True):
        assert cells[:3] == [
            f"{row['rate']:.1%} {row['low']:.1%} – {row['high']:.1%}",
            f"{row['leaked']} of {row['hidden']}",
            f"{row['unjudged_dropped'] / row['unjudged']:.1%}",
        ]
        graded = [f"{row['negatives_dropped'] / row['negatives']:.1%}"] if row["negatives"] else []
        assert cells[3:] == graded
    for name, band in (("Leak rate by rank", "rank"), ("Leak rate by distance to the positive", "gap")):
        dots = page.one("svg", aria_label=name).all("title")
        wanted = [r for r in rows if (r["band"], r["filter"]) == (band, "all") and r["hidden"]]
        assert [dot.text.partition(": ")[2][:6] for dot in dots] == [f"{r['rate']:.4f}" for r in wanted]
    flat = json.loads(result.files["metrics.json"].read_text())
    assert flat["round-00.estimate.hidden_positive.leak"] == overall[-1]["rate"]
    assert flat["round-00.estimate.hidden_positive.hidden"] == overall[-1]["hidden"]
    assert not page.all("table", data_estimator="hierarchy")


def test_estimates_without_anything_to_go_by_are_left_out(tmp_path: Path) -> None:
    inputs, rows = estimated(tmp_path)
    nothing = [{**r, "queries": 0, "hidden": 0, "leaked": 0, "rate": None, "low": None, "high": None} for r in rows]
    page = parsed(
        run(report, ReportConfig(), {**inputs, "round-00/estimates": source(table("estimates", nothing))}, tmp_path)
    )
    assert not page.all("table", class_="leaks")


@pytest.mark.parametrize(
    ("band", "lower", "upper", "says"),
    [
        ("rank", 1.0, 6.0, "rank 1–5"), ("rank", 101.0, None, "rank 101 on"), ("rank", 3.0, 4.0, "rank 3"),
        ("gap", None, -0.1, "gap < -10%"), ("gap", 0.05, 0.1, "gap 5% to 10%"), ("gap", 0.2, None, "gap ≥ 20%"),
    ],
)  # fmt: skip
def test_bands_in_words(band: str, lower: float | None, upper: float | None, says: str) -> None:
    leak = Leak("all", band, lower, upper, *[0] * 2, *[None] * 5)
    assert leak.says == says


def test_a_long_log_is_drawn_as_means(tmp_path: Path) -> None:
    inputs = data()
    log = [{"step": i, "epoch": 0.0, "loss": float(i % 2), "learning_rate": 0.0, "masked": 0.5} for i in range(1, 1002)]
    inputs["round-00/training_log"] = source(table("training_log", log))
    page = parsed(run(report, ReportConfig(), inputs, tmp_path))
    assert (
        "50.00% of in-batch negatives were known positives and were masked. Each point is the mean of 3 rows"
        in page.text
    )
    (line,) = page.one("svg", aria_label="Training loss by step").all("path", class_="line")
    assert line.attributes["d"].count("L") == 333
