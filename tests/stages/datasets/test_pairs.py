from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.datasets.pairs import Pairs
from stages.errors import ConfigError, InputError
from stages.records import split_of
from stages.text import normalise
from tests.stages.data import FIXTURES, jsonl, read_pairs, relevant


def texts(result: Any) -> set[tuple[str, str, int]]:
    """The judgements by their texts."""
    documents = result["corpus"].column("text").to_pylist()
    queries = result["queries"].column("text").to_pylist()
    return {(queries[r["query_row"]], documents[r["doc_row"]], r["relevance"]) for r in result.rows("qrels")}


ROWS = [("bread", "wheat"), ("soup", "stock"), ("bread", "rye"), ("cake", "wheat"), ("NA", "0001"), ("null", "1e5")]
EXPECTED = {(a, p, 1) for a, p in ROWS}


def write(path: Path, rows: list[tuple[str, str]], names: tuple[str, str] = ("anchor", "positive")) -> Path:
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        pq.write_table(pa.table({n: [row[i] for row in rows] for i, n in enumerate(names)}), path)
        return path
    if name.endswith(("jsonl", "ndjson")):
        content = jsonl(*(dict(zip(names, row, strict=True)) for row in rows))
    else:
        delimiter = "\t" if name.endswith(".tsv") else ","
        content = "".join(delimiter.join(row) + "\n" for row in (names, *rows)).encode()
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


@pytest.mark.parametrize(
    "name", ["p.csv", "p.tsv", "p.jsonl", "p.ndjson", "p.parquet", "p.csv.gz", "p.jsonl.gz", "P.CSV"]
)
def test_every_format_gives_the_same_pairs(tmp_path: Path, name: str) -> None:
    (tmp_path / "data").mkdir()
    result = read_pairs(write(tmp_path / "data" / name.lower(), ROWS), tmp_path)
    assert texts(result) == EXPECTED
    assert [r["text"] for r in result.rows("corpus")] == ["wheat", "stock", "rye", "0001", "1e5"]
    assert [r["text"] for r in result.rows("queries")] == ["bread", "soup", "cake", "NA", "null"]
    assert "columns taken: anchor = anchor, positive = positive" in result.messages


def test_ids_and_splits_come_from_the_texts_alone(tmp_path: Path) -> None:
    one = read_pairs(write(tmp_path / "a.csv", ROWS), tmp_path / "a")
    two = read_pairs(write(tmp_path / "b.csv", ROWS[::-1]), tmp_path / "b")
    assert relevant(one) == relevant(two)
    for row in one.rows("queries"):
        assert row["split"] == split_of(normalise(row["text"]))


def test_shares_of_the_splits(tmp_path: Path) -> None:
    rows = [(f"anchor {i}", f"positive {i}") for i in range(400)]
    path = write(tmp_path / "p.csv", rows)
    splits = [r["split"] for r in read_pairs(path, tmp_path, dev=0.25, test=0.25).rows("queries")]
    assert [splits.count(s) / 400 for s in ("train", "dev", "test")] == pytest.approx([0.5, 0.25, 0.25], abs=0.08)
    assert {r["split"] for r in read_pairs(path, tmp_path, dev=0.0, test=1.0).rows("queries")} == {"test"}


def test_anchors_that_differ_in_case_alone_share_a_split(tmp_path: Path) -> None:
    rows = [(a, f"{a} {i}") for i in range(40) for a in (f"Anchor {i}", f"ANCHOR  {i}")]
    result = read_pairs(write(tmp_path / "p.csv", rows), tmp_path)
    by_text: dict[str, set[str]] = {}
    for row in result.rows("queries"):
        by_text.setdefault(normalise(row["text"]), set()).add(row["split"])
    assert len(by_text) == 40
    assert all(len(splits) == 1 for splits in by_text.values())
    assert result.counters["queries.same_text"] == 40


def test_fixture_with_splits_and_negatives(tmp_path: Path) -> None:
    path = FIXTURES / "kitchen.csv"
    result = read_pairs(path, tmp_path, split="split")
    with path.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    positives = {(r["question"], r["answer"], 1) for r in rows}
    negatives = {(r["question"], r["negative"], 0) for r in rows if r["negative"]}
    assert len(negatives) == 2
    assert texts(result) == positives | negatives
    assert {(r["text"], r["split"]) for r in result.rows("queries")} == {(r["question"], r["split"]) for r in rows}


def test_id_columns(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("qid,query,did,passage\n0001,bread,1e5,wheat\nNA,soup,1,stock\n0001,bread,01,rye\n")
    result = read_pairs(
        path, tmp_path, anchor="query", positive="passage", anchor_id="qid", positive_id="did", test=1.0, dev=0.0
    )
    assert relevant(result) == {("0001", "1e5", 1, "test"), ("0001", "01", 1, "test"), ("NA", "1", 1, "test")}
    assert not any("columns taken" in m for m in result.messages)


def test_lists_of_positives_and_negatives(tmp_path: Path) -> None:
    rows = [
        {"query": "bread", "pos": ["wheat", "rye"], "neg": ["stone", "wheat"]},
        {"query": "soup", "pos": ["stock"], "neg": []},
        {"query": "cake", "pos": "wheat", "neg": None},
    ]
    (tmp_path / "p.jsonl").write_bytes(jsonl(*rows))
    result = read_pairs(tmp_path / "p.jsonl", tmp_path)
    expected = {
        ("bread", "wheat", 1),
        ("bread", "rye", 1),
        ("bread", "stone", 0),
        ("soup", "stock", 1),
        ("cake", "wheat", 1),
    }
    assert texts(result) == expected
    assert "1 given negatives are positives of the same anchor too: they are taken as positives" in result.messages
    pq.write_table(pa.table({"query": ["a", "b"], "pos": [["x", "y"], ["z"]]}), tmp_path / "p.parquet")
    assert texts(read_pairs(tmp_path / "p.parquet", tmp_path)) == {("a", "x", 1), ("a", "y", 1), ("b", "z", 1)}


def test_a_folder_is_all_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "we*ird[1]"
    folder.mkdir()
    write(folder / "b.csv", ROWS[3:])
    write(folder / "a.csv", ROWS[:3])
    (folder / "README.md").write_text("not data")
    (folder / ".hidden.csv").write_text("nothing")
    result = read_pairs(folder, tmp_path)
    assert texts(result) == EXPECTED
    assert result.rows("corpus")[0]["text"] == "wheat"


def test_quoted_cells_hold_delimiters_and_lines(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(b'\xef\xbb\xbfanchor,positive\r\n"a, ""b""","line one\nline two"\r\n\r\nplain,\xe2\x80\xa8x\r\n')
    result = read_pairs(path, tmp_path)
    assert texts(result) == {('a, "b"', "line one\nline two", 1), ("plain", "\u2028x", 1)}


@pytest.mark.parametrize(
    ("names", "anchor", "positive"),
    [
        (("Query", "Passage"), "Query", "Passage"),
        (("title", "abstract"), "title", "abstract"),
        (("text", "question"), "question", "text"),
        (("answer", "question"), "question", "answer"),
        (("sentence1", "sentence2"), "sentence1", "sentence2"),
        (("document", "anchor"), "anchor", "document"),
    ],
)
def test_known_names_are_found(tmp_path: Path, names: tuple[str, str], anchor: str, positive: str) -> None:
    result = read_pairs(write(tmp_path / "p.csv", [("one", "two")], names), tmp_path)
    given = dict(zip(names, ("one", "two"), strict=True))
    assert texts(result) == {(given[anchor], given[positive], 1)}
    assert f"columns taken: anchor = {anchor}, positive = {positive}" in result.messages


@pytest.mark.parametrize(
    ("header", "fields", "says"),
    [
        ("sentence,label", {}, ["no column is known as anchor and positive", "columns: sentence, label"]),
        ("query,foo", {}, ["no column is known as positive", "columns: query, foo"]),
        ("foo,answer", {}, ["no column is known as anchor", "columns: foo, answer"]),
        ("sentence1,sentence2,label", {}, ["a column 'label'", "not every row may be a positive pair"]),
        (
            "query,answer",
            {"anchor": "qery", "positive": "answer"},
            ["there is no column 'qery'", "did you mean 'query'?"],
        ),
        ("query,answer", {"anchor_id": "qid"}, ["there is no column 'qid'", "query, answer"]),
        ("query,answer", {"negatives": ["neg"]}, ["there is no column 'neg'"]),
    ],
)
def test_columns_that_cannot_be_told(tmp_path: Path, header: str, fields: dict[str, Any], says: list[str]) -> None:
    path = tmp_path / "p.csv"
    path.write_text(f"{header}\n{','.join('x' for _ in header.split(','))}\n")
    with pytest.raises(ConfigError) as caught:
        read_pairs(path, tmp_path, **fields)
    assert str(path) in str(caught.value)
    for piece in says:
        assert piece in str(caught.value)


def test_a_label_beside_named_columns_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("sentence1,sentence2,label\na,b,1\n")
    assert texts(read_pairs(path, tmp_path, anchor="sentence1", positive="sentence2")) == {("a", "b", 1)}


IDS = {"anchor_id": "qid", "positive_id": "did"}
BAD_PAIRS = [
    ("p.csv", b"anchor,positive\na,b\nc,\n", {}, ["line 3", "column 'positive'", "an empty text"]),
    ("p.csv", b"anchor,positive\na,b\n  ,d\n", {}, ["line 3", "column 'anchor'", "white space"]),
    ("p.csv", b"anchor,positive\na,b\nc\n", {}, ["line 3", "1 cells where the header has 2"]),
    ("p.csv", b"anchor,positive\na,b\nc,d,e\n", {}, ["line 3", "3 cells where the header has 2"]),
    ("p.csv", b"anchor,positive\na,\"b\nb\"\nc,d\xff\n", {}, ["line 4", "0xff at byte 3 of the line, byte 27 of the file"]),
    ("p.tsv", b"anchor\tpositive\na\tb\nc\td\te\n", {}, ["line 3", "3 cells"]),
    ("p.csv", b"anchor,positive,split\na,b,train\nc,d,tset\n", {"split": "split"}, ["line 3", "column 'split'", "'tset' where a split"]),
    ("p.csv", b"qid,anchor,did,positive\n1,a,1,b\n1,c,2,d\n", IDS,
     ["line 3", "column 'qid'", "id '1'", "stands for another text in p.csv line 2"]),
    ("p.csv", b"qid,anchor,did,positive\n1,a,1,b\n2,c,1,d\n", IDS,
     ["line 3", "column 'did'", "id '1'", "stands for another text in p.csv line 2"]),
    ("p.csv", b"qid,anchor,did,positive\n1,a,1,b\n,c,2,d\n", IDS, ["line 3", "column 'qid'", "an empty id"]),
    ("p.jsonl", jsonl({"anchor": "a", "positive": "b"}, {"anchor": 5, "positive": "d"}), {}, ["line 2", "column 'anchor'", "the number 5"]),
    ("p.jsonl", jsonl({"anchor": "a", "positive": "b"}, {"anchor": "c", "positive": None}), {}, ["line 2", "column 'positive'", "null"]),
    ("p.jsonl", jsonl({"anchor": "a", "positive": "b"}, {"anchor": "c"}), {}, ["line 2", "column 'positive'", "is missing"]),
    ("p.jsonl", jsonl({"anchor": "a", "positive": "b"}, {"anchor": "c", "positive": ["d", 3]}), {}, ["line 2", "'positive'", "number 3"]),
    ("p.jsonl", jsonl({"anchor": "a", "positive": "b"}, {"anchor": "c", "positive": []}), {}, ["line 2", "'positive'", "an empty list"]),
    ("p.jsonl", jsonl({"anchor": "a", "positive": "b"}) + b"{", {}, ["line 2", "broken JSON"]),
    ("p.jsonl", jsonl({"qid": "1", "anchor": "a", "did": "1", "positive": "b"}, {"qid": 2, "anchor": "c", "did": "2", "positive": "d"}), IDS,
     ["line 2", "column 'qid'", "the number 2 where an id belongs"]),
    ("p.jsonl", jsonl({"qid": "1", "anchor": "a", "did": "1", "positive": "b"}, {"qid": "2", "anchor": "c", "did": ["2"], "positive": ["d", "e"]}),
     IDS, ["line 2", "column 'did'", "1 ids for 2 positives"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "fields", "holds"), BAD_PAIRS)
def test_bad_pair_is_refused_with_its_place(
    tmp_path: Path, name: str, content: bytes, fields: dict[str, Any], holds: list[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_pairs(path, tmp_path, **fields)
    for piece in (str(path), "try:", *holds):
        assert piece in str(caught.value)
    result = read_pairs(path, tmp_path / "q", policy={"on_bad_row": "quarantine"}, **fields)
    (reject,) = result.rows("rejects")
    assert (reject["file"], f"line {reject['line']}") == (name, holds[0])
    assert [r["text"] for r in result.rows("queries")] == ["a"]
    assert {(q, p.replace("\n", "")[0]) for q, p, _ in texts(result)} == {("a", "b")}


def test_null_cells_of_parquet_are_named(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"anchor": ["a", None], "positive": ["b", "c"]}), path)
    with pytest.raises(InputError) as caught:
        read_pairs(path, tmp_path)
    for piece in (str(path), "line 2", "column 'anchor'", "null where a text belongs"):
        assert piece in str(caught.value)


def test_invalid_utf8_in_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    raw = pa.array([b"b", b"caf\xe9"], pa.binary()).cast(pa.binary())
    bad = pa.StringArray.from_buffers(2, raw.buffers()[1], raw.buffers()[2])
    pq.write_table(pa.table({"anchor": ["a", "c"], "positive": bad}), path)
    with pytest.raises(InputError) as caught:
        read_pairs(path, tmp_path)
    for piece in (str(path), "line 2", "column 'positive'", "0xe9 at byte 3 of the value"):
        assert piece in str(caught.value)


@pytest.mark.parametrize("values", [[1, 2], [0.5, 1.5], [b"x", b"y"], [True, False]])
def test_typed_columns_of_parquet_are_not_coerced(tmp_path: Path, values: list[Any]) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"qid": values, "anchor": ["a", "c"], "positive": ["b", "d"]}), path)
    with pytest.raises(ConfigError, match=r"the column 'qid' is .*, and strings are needed") as caught:
        read_pairs(path, tmp_path, anchor_id="qid")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("p.csv", b"", "has no rows"),
        ("p.csv", b"anchor,anchor,positive\n", "'anchor' occurs twice"),
        ("p.csv", b'anchor,positive\na,"b\nc,d\n', "line 2"),
        ("p.csv", b'anchor,positive\na,"b"x\n', "line 2"),
        ("p.csv", b"anch\xffor,positive\na,b\n", "0xff at byte 4"),
        ("p.csv", b"anchor,positive\n", "no row is left"),
        ("p.jsonl", b"", "has no rows"),
        ("p.jsonl", b"{\n", "line 1"),
        ("p.parquet", b"PAR1", "cannot be read"),
        ("p.json", b"[]", "no file of pairs"),
    ],
)
def test_file_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_pairs(path, tmp_path, policy={"on_bad_row": "quarantine"})
    assert says in str(caught.value)
    assert str(path) in str(caught.value) or "no row is left" in says


def test_missing_path_and_mixed_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not there"):
        Pairs(path=str(tmp_path / "none.csv")).fingerprint()
    (tmp_path / "a.csv").write_text("x")
    (tmp_path / "b.jsonl").write_text("x")
    with pytest.raises(InputError, match="several formats"):
        Pairs(path=str(tmp_path)).fingerprint()


def test_files_of_a_folder_need_the_same_columns(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    write(folder / "a.csv", ROWS)
    write(folder / "b.csv", ROWS, ("question", "positive"))
    with pytest.raises(ConfigError, match="no column 'anchor'") as caught:
        read_pairs(folder, tmp_path)
    assert "b.csv" in str(caught.value)


def test_fingerprint_is_of_content(tmp_path: Path) -> None:
    one, two = write(tmp_path / "p.csv", ROWS), tmp_path / "other"
    two.mkdir()
    write(two / "p.csv", ROWS)
    assert Pairs(path=str(one)).fingerprint() == Pairs(path=str(two / "p.csv")).fingerprint()
    write(two / "p.csv", ROWS[1:])
    assert Pairs(path=str(one)).fingerprint() != Pairs(path=str(two / "p.csv")).fingerprint()


def test_shares_above_one_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 1"):
        Pairs(path="p.csv", dev=0.6, test=0.6)


def test_a_long_cell_is_no_fault(tmp_path: Path) -> None:
    long = "word " * 60_000
    path = tmp_path / "p.csv"
    path.write_text(f"anchor,positive\na,{long}\n")
    assert texts(read_pairs(path, tmp_path)) == {("a", long, 1)}
    (tmp_path / "p.jsonl").write_text(json.dumps({"anchor": "a", "positive": long}))
    assert texts(read_pairs(tmp_path / "p.jsonl", tmp_path)) == {("a", long, 1)}
