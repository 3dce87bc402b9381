from __future__ import annotations

from pathlib import Path

from stages import report
from stages.report import ReportConfig
from stages.reports import browse, findings
from tests.stages.test_report import data, parsed
from tests.support import run, source, table


def test_hubs_are_counted_by_query() -> None:
    inputs = data()
    judged, triplets = (inputs[f"round-00/{name}"] for name in ("judged", "triplets"))
    for hub in findings.hubs(judged, triplets, 40, 5):
        kept = {
            r["query_row"] for r in judged.read().to_pylist() if r["verdict"] == "kept" and r["doc_row"] == hub.doc_row
        }
        trained = {r["query_row"] for r in triplets.read().to_pylist() if r["negative_row"] == hub.doc_row}
        assert (hub.kept, hub.sampled) == (len(kept), len(trained))


def test_duplicates_and_leaks_are_counted() -> None:
    inputs = data()
    clean = {c.says: c.count for c in findings.checks(inputs, inputs["round-00/triplets"])}
    assert not any(clean.values())
    corpus, queries = (inputs[name].read().to_pylist() for name in ("corpus", "queries"))
    negative = next(t for t in inputs["round-00/triplets"].read().to_pylist() if t["query_row"] == 1)["negative_row"]
    corpus[1]["text_hash"] = corpus[negative]["text_hash"]
    queries[8]["text_hash"] = queries[0]["text_hash"]
    inputs |= {"corpus": source(table("corpus", corpus)), "queries": source(table("queries", queries))}
    found = {c.says: c.count for c in findings.checks(inputs, inputs["round-00/triplets"])}
    assert found["documents with the text of another document"] == 1
    assert found["held-out queries with the text of a training query"] == 1
    assert found["training negatives with the text of a relevant document"] == 1


def test_shared_words_are_marked_and_nothing_else_is_markup() -> None:
    assert findings.overlap("Burn of <b>the Hand", "the burn") == "<mark>Burn</mark> of &lt;b&gt;<mark>the</mark> Hand"


def test_the_rows_are_cut_until_they_fit() -> None:
    queries = {i: {"query_id": f"Q{i}", "text": f"{i} " * 100, "split": "train", "picture": None} for i in range(50)}
    shown = {i: {"p": [[i, 1, 0.5]], "k": [], "d": [], "m": [0, 0], "v": {}, "g": None} for i in range(50)}
    documents = {
        i: {"doc_id": f"D{i}", "title": None, "text": " ".join(str(i * j) for j in range(60)), "picture": None}
        for i in range(50)
    }
    whole = browse.pack(shown, queries, documents, round=0, of=50, scale=(0, 1), characters=200)
    assert (whole.queries, whole.characters) == (50, 200)
    for size in (len(whole.packed) // 2, 800, 200):
        cut = browse.pack(shown, queries, documents, round=0, of=50, scale=(0, 1), characters=200, room=size)
        assert len(cut.packed) <= size
        assert cut.queries < 50 or cut.characters < 200


def test_a_dev_curve_is_drawn_and_few_hidden_positives_are_said_to_be_too_few(tmp_path: Path) -> None:
    inputs = data()
    inputs["round-00/dev_curve"] = source(
        table("dev_curve", [{"step": s, "epoch": s / 10, "ndcg": 0.3 + s / 100} for s in (0, 5, 10)])
    )
    row = {
        "round": 0, "estimator": "hidden_positive", "filter": "all", "band": "overall", "queries": 3, "hidden": 3, "leaked": 1, "rate": 1 / 3,
        "low": 0.01, "high": 0.9, "unjudged": 10, "unjudged_dropped": 1, "negatives": 0, "negatives_dropped": 0,
        "false_negatives": 0.2, "false_negatives_at_most": 1.0,
    }  # fmt: skip
    inputs["round-00/estimates"] = source(table("estimates", [row]))
    page = parsed(run(report, ReportConfig(), inputs, tmp_path))
    assert len(page.one("svg", aria_label="nDCG@10 on dev by step").all("circle")) == 3
    assert "3 hidden positives are too few to tell" in page.text
    (tile,) = [
        li.text for li in page.one("section", class_="glance").all("li") if li.text.startswith("false negatives")
    ]
    assert tile == "false negatives that pass unknown 3 hidden positives are too few to tell"
    assert "candidates that are kept at most" not in page.text
