"""A guard against brute force: all documents at once, float64, and nDCG written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import guard
from stages.errors import ConfigError, InputError
from stages.guard import GuardConfig
from stages.settings import parse
from stages.text import TITLE_FIRST, text_hash, with_template
from tests import models
from tests.stages.data import beir, jsonl
from tests.support import Result, run, source, table

PARTS = ("femur", "tibia", "skull", "rib", "wrist", "ankle", "jaw")
KINDS = ("fracture", "burn", "open wound", "infection")
MEASURES = {"depth": 12, "ndcg_cutoffs": (5,), "mrr_cutoffs": (5,), "recall_cutoffs": (10,), "bootstrap": 100,
            "randomisations": 200}  # fmt: skip


def world(folder: Path, **changes: bytes) -> Path:
    """28 documents, one of them twice; a query a part and kind with two graded documents; every third is of the split dev."""
    documents = [
        {"_id": f"{p}-{k}", "title": kind if k % 2 else "", "text": f"{kind} of the {part}"}
        for p, part in enumerate(PARTS)
        for k, kind in enumerate(KINDS)
    ]
    documents.append({"_id": "copy", "title": "", "text": documents[8]["text"]})
    queries = [
        {"_id": f"q{p}-{k}", "text": f"{('broken', 'scalded', 'cut', 'septic')[k]} {part}"}
        for p, part in enumerate(PARTS)
        for k in range(4)
    ]
    lines: dict[str, list[str]] = {"test": [], "dev": []}
    for i, query in enumerate(queries):
        p, k = divmod(i, 4)
        for doc, gain in ((f"{p}-{k}", 2), (f"{(p + 1) % 7}-{k}", 1), (f"{p}-{(k + 1) % 4}", 0)):
            lines["dev" if i % 3 == 0 else "test"].append(f"{query['_id']}\t{doc}\t{gain}")
    qrels = {split: ("query-id\tcorpus-id\tscore\n" + "\n".join(rows) + "\n").encode() for split, rows in lines.items()}
    return beir(folder, jsonl(*documents), jsonl(*queries), **{**qrels, **changes})


def own(queries: list[str], documents: list[str], pairs: list[tuple[int, int]], split: str = "train") -> dict[str, Any]:
    """The collection that is trained on."""
    rows = {
        "corpus": [
            {"row": i, "doc_id": f"d{i}", "text": t, "text_hash": text_hash(t)} for i, t in enumerate(documents)
        ],
        "queries": [
            {"row": i, "query_id": f"q{i}", "text": t, "split": split, "source": "given", "text_hash": text_hash(t)}
            for i, t in enumerate(queries)
        ],
        "qrels": [
            {"query_row": q, "doc_row": d, "relevance": 1, "split": split, "source": "given"} for q, d in sorted(pairs)
        ],
    }
    return {name: source(table(name, values)) for name, values in rows.items()}


OWN = own(["an unrelated query"], ["an unrelated document"], [(0, 0)])


def config(folder: Path, encoder: Any, fields: dict[str, Any] | None = None, **changes: Any) -> GuardConfig:
    guards = {"medical": {"dataset": {"name": "beir", "path": str(folder)}, **(fields or {})}}
    return parse(GuardConfig, {"collections": guards, "encoder": encoder, **MEASURES, **changes}, "guard")


def reference(
    folder: Path, encoder: Any, split: str, block: int, template: str = TITLE_FIRST
) -> dict[str, dict[str, float]]:
    """nDCG@5 and Recall@10 of each query by their formulas, over all documents at once.

    They are encoded a block at a time, since a text's vector hangs on its batch in the last bits.
    """
    corpus = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    queries = {q["_id"]: q["text"] for q in map(json.loads, (folder / "queries.jsonl").read_text().splitlines())}
    loaded = encoder.load("cpu", "fp32")
    texts = [
        template.replace("{text}", d["text"]).replace("{title}", d["title"]) if d["title"] else d["text"]
        for d in corpus
    ]
    blocks = [loaded.encode(texts[i : i + block], "document") for i in range(0, len(texts), block)]
    documents = np.concatenate(blocks).astype(np.float64)
    gains: dict[str, dict[int, int]] = {}
    place = {d["_id"]: i for i, d in enumerate(corpus)}
    for line in (folder / "qrels" / f"{split}.tsv").read_text().splitlines()[1:]:
        query, doc, gain = line.split("\t")
        gains.setdefault(query, {})[place[doc]] = int(gain)
    found = {}
    asked = loaded.encode([queries[q] for q in gains], "query").astype(np.float64)
    for (query, known), vector in zip(gains.items(), asked, strict=True):
        scores = np.round(documents @ vector, 10)
        order = sorted(range(len(corpus)), key=lambda i: (-scores[i], i))
        dcg = sum(known.get(doc, 0) / np.log2(rank + 2) for rank, doc in enumerate(order[:5]))
        best = sorted(known.values(), reverse=True)
        ideal = sum(gain / np.log2(rank + 2) for rank, gain in enumerate(best[:5]))
        relevant = {doc for doc, gain in known.items() if gain > 0}
        found[query] = {"nDCG": dcg / ideal, "Recall": len(relevant & set(order[:10])) / len(relevant)}
    return found


def by_query(result: Result, measure: str, collection: str = "medical") -> dict[str | None, float]:
    ids = {r["row"]: r["query_id"] for r in result.rows("guard_queries") if r["collection"] == collection}
    return {
        None if r["query_row"] is None else ids[r["query_row"]]: r["value"]
        for r in result.rows("guard_metrics")
        if (r["collection"], r["measure"]) == (collection, measure)
    }


@pytest.fixture(scope="module")
def tiny() -> Any:
    return models.tiny()


@pytest.mark.parametrize(
    ("split", "block", "template"),
    [("test", 5, TITLE_FIRST), ("test", 28, TITLE_FIRST), ("dev", 28, TITLE_FIRST), ("dev", 100, TITLE_FIRST),
     ("test", 28, "{text} or not {title}"), ("dev", 28, "{text}")],
)  # fmt: skip
def test_each_query_has_the_measures_of_brute_force(
    tmp_path: Path, tiny: Any, block: int, split: str, template: str
) -> None:
    folder = world(tmp_path / "data")
    own_corpus = OWN["corpus"].read()
    inputs = {**OWN, "corpus": source(own_corpus.cast(with_template(own_corpus.schema, template)))}
    result = run(guard, config(folder, tiny, {"split": split}, block_rows=block), inputs, tmp_path / "out")
    expected = reference(folder, tiny, split, block, template)
    for name in ("nDCG", "Recall"):
        found = by_query(result, name)
        mean = found.pop(None)
        assert found == {query: pytest.approx(each[name], abs=1e-6) for query, each in expected.items()}
        assert mean == pytest.approx(np.mean([each[name] for each in expected.values()]), abs=1e-6)
    rows = result.rows("guard_metrics")
    assert {(r["round"], r["collection"], r["system"], r["split"]) for r in rows} == {(0, "medical", "dense", split)}
    assert all(r["low"] <= r["value"] <= r["high"] for r in rows if r["query_row"] is None)
    assert result["guard_comparisons"].num_rows == 0
    assert result.shards == ["medical-00000"]


def test_blocks_change_no_rank(tmp_path: Path) -> None:
    """With a table of vectors a text's vector does not hang on its batch, so nothing may differ to the bit."""
    folder, static = world(tmp_path / "data"), models.static()
    tables = [
        run(guard, config(folder, static, block_rows=block), OWN, tmp_path / str(block))["guard_metrics"]
        for block in (1, 3, 29)
    ]
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])


def test_rounds_are_compared_with_the_first_and_the_one_before_by_query(tmp_path: Path) -> None:
    folder = world(tmp_path / "data")
    encoders = [models.static(), models.static(query_prompt="jaw jaw "), models.static(query_prompt="burn ")]
    results: list[Result] = []
    for round, encoder in enumerate(encoders):
        inputs = dict(OWN)
        if round:
            inputs["first_guard_metrics"] = results[0].inputs()["guard_metrics"]
            inputs["previous_guard_metrics"] = results[-1].inputs()["guard_metrics"]
        results.append(run(guard, config(folder, encoder), inputs, tmp_path / str(round), round=round))
    against = [list(dict.fromkeys(r["against_round"] for r in x.rows("guard_comparisons"))) for x in results]
    assert against == [[], [0], [0, 1]]
    for row in results[2].rows("guard_comparisons"):
        here, there = by_query(results[2], row["measure"]), by_query(results[row["against_round"]], row["measure"])
        assert (row["collection"], row["round"], row["against_system"]) == ("medical", 2, "dense")
        assert row["difference"] == pytest.approx(np.mean([here[q] - there[q] for q in here if q]))
        assert row["low"] <= row["difference"] <= row["high"]
        assert row["queries"] == len(here) - 1
    lost = [r for r in results[1].rows("guard_comparisons") if r["measure"] == "nDCG"]
    assert [r["high"] < 0 for r in lost] == [True]


def test_leaks_are_counted_and_said(tmp_path: Path, tiny: Any) -> None:
    folder = world(tmp_path / "data")
    inputs = own(
        ["Broken  TIBIA", "scalded femur", "cut femur", "nothing"],
        ["fracture of the tibia", "burn burn of the femur", "else"],
        [(0, 0), (1, 2), (2, 1)],
    )
    result = run(guard, config(folder, tiny), inputs, tmp_path / "out")
    counts = {name: result.counters[f"medical.leaked.{name}"] for name in ("queries", "pairs", "documents")}
    # q1-0, q0-1 and q0-2 are queries; (q1-0, 1-0) is a pair; 1-0 and 0-1 are documents.
    split = {q["query_id"] for q in result.rows("guard_queries")}
    assert counts == {"queries": len(split & {"q1-0", "q0-1", "q0-2"}), "pairs": 1 * ("q1-0" in split), "documents": 2}
    assert counts["queries"] == 3
    assert any("medical: 3 queries have the text of a training query" in m for m in result.messages)
    assert result.facts["medical"]["leaked.queries"] == 3
    held_out = own(["broken tibia"], ["fracture of the tibia"], [(0, 0)], split="test")
    again = run(guard, config(folder, tiny), held_out, tmp_path / "again")
    assert again.counters["medical.leaked.queries"] == again.counters["medical.leaked.pairs"] == 0


def test_a_limit_keeps_the_positives_of_the_queries_that_it_keeps(tmp_path: Path, tiny: Any) -> None:
    folder = world(tmp_path / "data")
    result = run(guard, config(folder, tiny, limit=2, depth=100), OWN, tmp_path / "out")
    assert result.counters["medical.queries"] == len(result.rows("guard_queries")) == 2
    assert result.counters["medical.documents"] == 20
    assert by_query(result, "MAP")[None] > 0


def test_collections_are_shards_and_without_any_nothing_is_loaded(tmp_path: Path, tiny: Any) -> None:
    folder = world(tmp_path / "data")
    one = {"dataset": {"name": "beir", "path": str(folder)}, "split": "dev"}
    both = parse(GuardConfig, {"collections": {"b": one, "a-1": one}, "encoder": tiny, **MEASURES}, "guard")
    result = run(guard, both, OWN, tmp_path / "out")
    assert result.shards == ["a-1-00000", "b-00001"]
    assert by_query(result, "nDCG", "b") == by_query(result, "nDCG", "a-1")
    assert run(guard, GuardConfig(), OWN, tmp_path / "none").tables == {}


@pytest.mark.parametrize(
    ("change", "fields", "says"),
    [
        ({"test": b"q0-1\tnowhere\t1\n"}, {}, "documents or queries that are not there"),
        ({"test": b"nobody\t0-0\t1\n"}, {}, "documents or queries that are not there"),
        ({"test": b"q0-1\t0-0\t1\nq0-2\t0-0\tmany\n"}, {}, "many"),
        ({"test": b"q0-1\t0-0\t0\n"}, {}, "no query of the split 'test' has a relevant document"),
        ({"test": b"q0-1\t0-0\t1\nq0-1\t0-0\t2\n"}, {}, "the relevance is 2, and for the same document 1"),
        ({}, {"split": "train"}, "splits of the queries: dev, test"),
    ],
)
def test_what_cannot_be_read_is_explained(tmp_path: Path, tiny: Any, change: Any, fields: Any, says: str) -> None:
    folder = world(tmp_path / "data", **change)
    with pytest.raises(InputError, match="the guard 'medical' cannot be measured") as error:
        run(guard, config(folder, tiny, fields), OWN, tmp_path / "out")
    assert says in str(error.value)


def test_a_guard_that_is_not_there_is_named(tmp_path: Path, tiny: Any) -> None:
    with pytest.raises(InputError, match="the guard 'medical'") as error:
        guard.external(config(tmp_path / "missing", tiny), {}, "cpu")
    assert str(tmp_path / "missing") in str(error.value)


def test_bad_rows_can_be_set_aside(tmp_path: Path) -> None:
    folder = world(tmp_path / "data")
    with (folder / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "blank", "title": "", "text": " "}\n')
    with pytest.raises(InputError, match="guard 'medical'"):
        run(guard, config(folder, models.static()), OWN, tmp_path / "out")
    result = run(guard, config(folder, models.static(), {"on_bad_row": "quarantine"}), OWN, tmp_path / "aside")
    assert result.counters["medical.corpus.rejected"] == 1
    assert result.counters["medical.documents"] == 29


def test_wrong_configurations_are_explained(tmp_path: Path) -> None:
    data = {"dataset": {"name": "beir", "path": "x"}}
    for tables, says in (
        ({"collections": {"a": data}}, "need an encoder"),
        ({"collections": {"A b": data}}, "collections"),
        ({"collections": {"a": {**data, "splt": "test"}}}, "splt"),
        ({"collections": {"a": {"split": "test"}}}, "dataset"),
        ({"ndcg_cutoffs": (2000,)}, "from 1 to depth"),
    ):
        with pytest.raises(ConfigError, match=says):
            parse(GuardConfig, tables, "guard")
