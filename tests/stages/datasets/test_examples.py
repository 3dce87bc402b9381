"""Formats whose row is a query with its documents: FlagEmbedding, Tevatron, DPR, triplets and n-tuples."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.datasets import _helpers
from stages.datasets._examples import listed, made_id, split_in
from stages.datasets._helpers import File, elements
from stages.errors import ConfigError, InputError
from stages.records import Fault
from tests.stages.data import jsonl
from tests.stages.datasets.reading import by_id, ingested, judged

BREAD = {"query": "bread", "pos": ["wheat", "rye"], "neg": ["stone", "wheat"]}
SOUP = {"query": "soup", "pos": "stock", "neg": []}
EXPECTED = {("bread", "wheat", 1), ("bread", "rye", 1), ("bread", "stone", 0), ("soup", "stock", 1)}


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz"])
def test_flagembedding(tmp_path: Path, name: str) -> None:
    result = ingested("flagembedding", write(tmp_path / name, jsonl(BREAD, SOUP)), tmp_path)
    assert judged(result) == EXPECTED
    assert any("1 given negatives are positives" in message for message in result.messages)


def test_flagembedding_prompts_and_scores(tmp_path: Path) -> None:
    rows = [{**BREAD, "prompt": "find: ", "pos_scores": [1, 2], "neg_scores": [0, 1]}, {**BREAD, "prompt": None}]
    result = ingested("flagembedding", write(tmp_path / "a.jsonl", jsonl(*rows)), tmp_path)
    assert [(r["text"], r["prompt"]) for r in result.rows("queries")] == [("bread", "find: "), ("bread", None)]
    assert len({r["query_id"] for r in result.rows("queries")}) == 2
    assert any("pos_scores, neg_scores: not read" in message for message in result.messages)


RAGGED = [
    ({"pos_scores": [1]}, "1 scores for 2 texts", "pos_scores"),
    ({"neg_scores": [0, 1, 2.5]}, "3 scores for 2 texts", "neg_scores"),
    ({"pos_scores": [], "neg_scores": []}, "0 scores for 2 texts", "pos_scores"),
    ({"neg_scores": 0.5}, "the number 0.5 where a list of scores belongs", "neg_scores"),
    ({"neg_scores": [0.5, None]}, "null where score 1 belongs", "neg_scores"),
    ({"pos_scores": ["1", 2]}, "a str where score 0 belongs", "pos_scores"),
    ({"neg_scores": [10**400, float("nan")]}, "NaN where score 1 belongs", "neg_scores"),
    ({"neg": None, "neg_scores": [1]}, "1 scores for 0 texts", "neg_scores"),
]


@pytest.mark.parametrize(("change", "reason", "column"), RAGGED, ids=str)
def test_scores_of_another_length_than_the_texts_are_refused_or_set_aside(
    tmp_path: Path, change: dict[str, Any], reason: str, column: str
) -> None:
    whole = {**SOUP, "pos_scores": [1], "neg_scores": []}
    path = write(tmp_path / "a.jsonl", jsonl(whole, {**BREAD, **change}))
    with pytest.raises(InputError, match="line 2") as raised:
        ingested("flagembedding", path, tmp_path)
    assert reason in str(raised.value)
    result = ingested("flagembedding", path, tmp_path, policy={"on_bad_row": "quarantine"})
    rejected = [(r["file"], r["line"], r["column"], r["id"], r["reason"]) for r in result.rows("rejects")]
    assert rejected == [("a.jsonl", 2, column, made_id("q", "bread"), reason)]
    assert result.counters["corpus.rejected"] == 1
    assert judged(result) == {("soup", "stock", 1)}


def test_scores_of_another_length_are_found_in_parquet_too(tmp_path: Path) -> None:
    rows = [
        {"query": "soup", "pos": ["stock"], "neg": ["stone"], "pos_scores": [1.0], "neg_scores": [0.5]},
        {"query": "bread", "pos": ["wheat"], "neg": ["stone", "salt"], "pos_scores": [1.0], "neg_scores": [0.5]},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    with pytest.raises(InputError, match="1 scores for 2 texts"):
        ingested("huggingface", tmp_path / "train.parquet", tmp_path)
    as_text = b"query,pos,neg,neg_scores\nbread,\"['wheat']\",\"['stone', 'salt']\",\"[0.5, 0.1]\"\n"
    (tmp_path / "a.csv").write_bytes(as_text)
    assert len(judged(ingested("huggingface", tmp_path / "a.csv", tmp_path))) == 3
    (tmp_path / "a.csv").write_bytes(as_text.replace(b", 0.1", b""))
    with pytest.raises(InputError, match="1 scores for 2 texts"):
        ingested("huggingface", tmp_path / "a.csv", tmp_path)
    pq.write_table(pa.Table.from_pylist(rows[:1]), tmp_path / "train.parquet")
    result = ingested("huggingface", tmp_path / "train.parquet", tmp_path)
    assert judged(result) == {("soup", "stock", 1), ("soup", "stone", 0)}


PASSAGES = {
    "query_id": "0001", "query": "bread", "answers": ["x"], "subset": "msmarco",
    "positive_passages": [{"docid": "01", "title": "Corn", "text": "wheat"}],
    "negative_passages": [{"docid": "1", "title": "", "text": "stone"}],
}  # fmt: skip
IDS = {"query_id": "0001", "query_text": "bread", "positive_document_ids": ["01"], "negative_document_ids": ["1"]}
DOCS = [{"docid": "01", "title": "Corn", "text": "wheat"}, {"docid": "1", "text": "stone"}, {"docid": "2", "text": "x"}]


def test_tevatron_passages_and_rlhn(tmp_path: Path) -> None:
    result = ingested("tevatron", write(tmp_path / "a.jsonl", jsonl(PASSAGES)), tmp_path, dev=0, test=0)
    assert by_id(result) == {("0001", "01", 1, "train"), ("0001", "1", 0, "train")}
    assert [(r["title"], r["text"]) for r in result.rows("corpus")] == [("Corn", "wheat"), (None, "stone")]
    pq.write_table(pa.Table.from_pylist([PASSAGES]), tmp_path / "b.parquet")
    assert by_id(ingested("tevatron", tmp_path / "b.parquet", tmp_path, dev=0, test=0)) == by_id(result)


@pytest.mark.parametrize("key", ["text", "document_text"])
def test_tevatron_ids(tmp_path: Path, key: str) -> None:
    rows = [{(key if k == "text" else k): v for k, v in row.items()} for row in DOCS]
    write(tmp_path / "set/corpus/corpus.jsonl", jsonl(*rows))
    write(tmp_path / "set/data/train.jsonl", jsonl(IDS))
    write(tmp_path / "set/data/test.jsonl", jsonl({**IDS, "query_id": "2", "query_text": "soup"}))
    result = ingested("tevatron", tmp_path / "set", tmp_path)
    assert by_id(result) == {
        ("0001", "01", 1, "train"), ("0001", "1", 0, "train"), ("2", "01", 1, "test"), ("2", "1", 0, "test")
    }  # fmt: skip
    assert [r["text"] for r in result.rows("corpus")] == ["wheat", "stone", "x"]
    assert any("document_text" in message for message in result.messages) == (key == "document_text")


def test_tevatron_of_2021(tmp_path: Path) -> None:
    row = {"query": "bread", "positives": ["wheat"], "negatives": ["stone"]}
    result = ingested("tevatron", write(tmp_path / "a.jsonl", jsonl(row)), tmp_path)
    assert judged(result) == {("bread", "wheat", 1), ("bread", "stone", 0)}


QUESTION = {
    "question": "bread?", "answers": ["yes"],
    "positive_ctxs": [{"title": "Corn", "text": "wheat", "score": 1.5, "passage_id": "01"}],
    "negative_ctxs": [{"text": "stone"}], "hard_negative_ctxs": [{"title": "", "text": "rye", "psg_id": "3"}],
}  # fmt: skip


@pytest.mark.parametrize("style", ["array", "indented", "lines", "gz"])
def test_dpr(tmp_path: Path, style: str) -> None:
    rows = [QUESTION, {"question": "none?", "positive_ctxs": [], "hard_negative_ctxs": [{"text": "stone"}]}]
    text = {"array": json.dumps(rows).encode(), "indented": json.dumps(rows, indent=2).encode(), "lines": jsonl(*rows)}
    path = write(tmp_path / ("d.json.gz" if style == "gz" else "d.json"), text.get(style, text["array"]))
    result = ingested("dpr", path, tmp_path)
    assert judged(result) == {
        ("bread?", "wheat", 1),
        ("bread?", "stone", 0),
        ("bread?", "rye", 0),
        ("none?", "stone", 0),
    }
    assert {(r["doc_id"], r["title"]) for r in result.rows("corpus") if r["text"] != "stone"} == {
        ("01", "Corn"),
        ("3", None),
    }
    assert result.counters["queries.without_positives"] == 1


def test_dpr_with_a_corpus(tmp_path: Path) -> None:
    write(tmp_path / "set/train.json", json.dumps([QUESTION]).encode())
    write(tmp_path / "set/psgs_w100.tsv", b'id\ttext\ttitle\n01\t"wheat"\tCorn\n9\tnever named\tNine\n')
    result = ingested("dpr", tmp_path / "set", tmp_path, corpus="psgs_w100.tsv")
    assert [r["text"] for r in result.rows("corpus")] == ["wheat", "never named", "stone", "rye"]
    with pytest.raises(InputError, match="the file of passages is not there"):
        ingested("dpr", tmp_path / "set", tmp_path, corpus="other.tsv")


def test_triplets_ntuples_labels_and_scores(tmp_path: Path) -> None:
    table = pa.table(
        {"anchor": ["a"], "positive": ["p"], "negative_1": ["n"], "negative_2": ["m"], "scores": [[1.0, 0.5, 0.2]]}
    )
    pq.write_table(table, tmp_path / "n.parquet")
    result = ingested("pairs", tmp_path / "n.parquet", tmp_path)
    assert judged(result) == {("a", "p", 1), ("a", "n", 0), ("a", "m", 0)}
    assert any("scores: not read" in message for message in result.messages)
    pq.write_table(pa.table({"anchor": ["a", "a"], "positive": ["p", "n"], "label": [1, 0]}), tmp_path / "l.parquet")
    assert judged(ingested("pairs", tmp_path / "l.parquet", tmp_path, label="label")) == {("a", "p", 1), ("a", "n", 0)}
    with pytest.raises(ConfigError, match="not every row may be a positive pair"):
        ingested("pairs", tmp_path / "l.parquet", tmp_path)
    write(tmp_path / "l.csv", b"anchor,positive,label\na,p,1\na,n,0.5\n")
    with pytest.raises(InputError, match=r"the label 0.5 is neither 0 nor 1"):
        ingested("pairs", tmp_path / "l.csv", tmp_path, label="label")


def test_splits_by_file_name(tmp_path: Path) -> None:
    write(tmp_path / "set/my-train.csv", b"anchor,positive\na,p\n")
    write(tmp_path / "set/my-validation.csv", b"anchor,positive\nb,q\n")
    result = ingested("pairs", tmp_path / "set", tmp_path)
    assert {(r["text"], r["split"]) for r in result.rows("queries")} == {("a", "train"), ("b", "dev")}
    assert any("splits taken from the files' names" in message for message in result.messages)
    assert [split_in(n) for n in ("x/train-00.parquet", "test/a.json", "trained.csv", "train-test.csv", "training.v2")] == [
        "train", "test", None, None, "train"
    ]  # fmt: skip


BAD: list[tuple[str, str, bytes, list[str]]] = [
    ("flagembedding", "a.jsonl", jsonl(BREAD, {"query": "x", "pos": []}), ["line 2", "'pos'", "an empty list"]),
    ("flagembedding", "a.jsonl", jsonl(BREAD, {"query": "x"}), ["line 2", "'pos'", "missing"]),
    ("flagembedding", "a.jsonl", jsonl(BREAD, {"query": "x", "pos": ["y"], "neg": [3]}), ["line 2", "'neg'", "number 3"]),
    ("flagembedding", "a.jsonl", jsonl(BREAD, {"query": "x", "pos": ["y"], "prompt": 3}), ["line 2", "'prompt'", "number 3"]),
    ("flagembedding", "a.jsonl", jsonl(BREAD) + b'{"query": "x", "po', ["line 2", "broken JSON"]),
    ("flagembedding", "a.jsonl", jsonl(BREAD) + b'{"query": "\xff"}\n', ["line 2", "invalid UTF-8", "byte 11 of the line"]),
    ("tevatron", "a.jsonl", jsonl(PASSAGES, {**PASSAGES, "query_id": 3}), ["line 2", "'query_id'", "number 3"]),
    ("tevatron", "a.jsonl", jsonl(PASSAGES, {**PASSAGES, "query": "other"}), ["line 2", "'query_id'", "id '0001'", "another text"]),
    ("tevatron", "a.jsonl", jsonl(PASSAGES, {**PASSAGES, "positive_passages": [{"docid": "01", "text": "z"}]}),
     ["line 2", "'positive_passages'", "stands for another text"]),
    ("tevatron", "a.jsonl", jsonl(PASSAGES, {**PASSAGES, "positive_passages": [{"docid": "7"}]}), ["line 2", "without 'text'", "docid"]),
    ("dpr", "a.json", json.dumps([QUESTION, {"question": " ", "positive_ctxs": []}], indent=0).encode(), ["'question'", "white space"]),
    ("dpr", "a.json", json.dumps([QUESTION, {"question": "q", "positive_ctxs": ["\ud800"]}]).encode(), ["'positive_ctxs'", "lone surrogate"]),
    ("dpr", "a.json", json.dumps([QUESTION, 5]).encode(), ["line 1", "not a JSON object: 5"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "file", "content", "holds"), BAD)
def test_bad_rows_are_named(tmp_path: Path, name: str, file: str, content: bytes, holds: list[str]) -> None:
    path = write(tmp_path / file, content)
    with pytest.raises(InputError) as caught:
        ingested(name, path, tmp_path)
    for piece in (str(path), "try:", *holds):
        assert piece in str(caught.value)
    result = ingested(name, path, tmp_path, policy={"on_bad_row": "quarantine"})
    assert result["rejects"].num_rows == 1
    assert result["queries"].num_rows == 1


@pytest.mark.parametrize(
    ("name", "file", "content", "says"),
    [
        ("dpr", "a.json", b"[" + json.dumps(QUESTION).encode() + b",\n{", "line 2"),
        ("dpr", "a.json", b'[{"question": "a", "positive_ctxs" []}]', "Expecting ':' delimiter"),
        ("dpr", "a.json", b'[\n{"question": "a"}\n{"question": "b"}]', "',' or ']' belongs here"),
        ("dpr", "a.json", b'[\n{"question": "\xff"}]', "byte 16 of the file"),
        ("dpr", "a.json.gz", b"\x1f\x8b\x08\x00\x00", "cut off"),
        ("tevatron", "a.jsonl", jsonl({"query": "a", "positive": "b"}), "the rows have none of positive_passages"),
        ("tevatron", "a.jsonl", jsonl(IDS), "rows of document ids and no corpus"),
        ("flagembedding", "a.csv", b"query,pos\n", "no file of this format"),
    ],
)
def test_files_that_cannot_be_read_on(tmp_path: Path, name: str, file: str, content: bytes, says: str) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises((InputError, ConfigError)) as caught:
        ingested(name, tmp_path / file, tmp_path, policy={"on_bad_row": "quarantine"})
    assert says in str(caught.value)
    assert str(tmp_path / file) in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@settings(deadline=None, max_examples=80)
@given(
    rows=st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=4), max_size=5),
    size=st.integers(1, 40),
    indent=st.sampled_from([None, 0, 3]),
    ascii_only=st.booleans(),
)
def test_an_array_reads_as_json_does(
    tmp_path_factory: Any, rows: Any, size: int, indent: Any, ascii_only: bool
) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    text = json.dumps(rows, indent=indent, ensure_ascii=ascii_only)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    whole = _helpers.chunks
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_helpers, "chunks", lambda file: whole(file, size))
        found = list(_helpers._Array(File("a.json", path)).read())
    assert not any(isinstance(item, Fault) for item in found)
    assert [item[1] for item in found] == json.loads(text)
    lines = text.split("\n")
    assert all("{" in lines[item[0] - 1] for item in found)


def test_an_array_is_a_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"n": i, "text": "x" * 1000} for i in range(5000)]))
    longest = 0
    for item in (reader := _helpers._Array(File("a.json", path))).read():
        longest = max(longest, len(reader._window))
        assert not isinstance(item, Fault)
    assert longest < 2.2 * (1 << 20)
    assert next(iter(elements(File("a.json", path))))[0] == 1


@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=4))
def test_lists_written_as_text(texts: list[str]) -> None:
    assert listed(repr(texts)) == texts
    assert listed("[removed]") is None
    assert listed("[1] a footnote") is None
    assert listed("__import__('os')") is None
