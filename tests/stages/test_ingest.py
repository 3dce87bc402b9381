from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages import ingest
from stages.errors import ConfigError, HardrockError, InputError
from stages.intake import Buffer, Ids, Intake
from stages.records import stable_hash, wrong_id, wrong_text
from stages.schemas import REJECTS
from stages.text import text_hash
from tests.stages.data import CORPUS, FIXTURES, QUERIES, TRAIN, beir, config, jsonl, read, relevant

HEADER = b"query-id\tcorpus-id\tscore\n"


def test_fixture_comes_back_row_by_row(tmp_path: Path) -> None:
    result = read(FIXTURES / "kitchen", tmp_path)
    given = [json.loads(line) for line in (FIXTURES / "kitchen/corpus.jsonl").read_bytes().split(b"\n") if line]
    assert [(r["doc_id"], r["title"], r["text"]) for r in result.rows("corpus")] == [
        (d["_id"], d["title"] or None, d["text"]) for d in given
    ]
    assert [r["row"] for r in result.rows("corpus")] == list(range(14))
    assert [(r["query_id"], r["split"]) for r in result.rows("queries")] == [
        ("q1", "train"), ("q2", "train"), ("q3", "train"), ("q4", "train"), ("q5", "dev"), ("q6", "train"),
        ("007", "train"), ("q8", "dev"), ("q9", "test"), ("q10", "test"),
    ]  # fmt: skip
    assert relevant(result) == {
        ("q1", "rest", 2, "train"), ("q1", "proof", 0, "train"), ("q2", "proof", 1, "train"), ("q3", "salt", 1, "train"),
        ("q3", "NA", 0, "train"), ("q4", "knife", 1, "train"), ("007", "0012", 1, "train"), ("q6", "crème", 1, "train"),
        ("q5", "caramel", 1, "dev"), ("q8", "soft/boil", 1, "dev"), ("q8", "1e5", -1, "dev"),
        ("q9", "1e5", 1, "test"), ("q9", "soft/boil", 1, "test"), ("q10", "味噌", 1, "test"),
    }  # fmt: skip
    order = [(r["query_row"], r["doc_row"]) for r in result.rows("qrels")]
    assert all(a < b for a, b in pairwise(order))


def test_hashes_are_of_title_and_text(tmp_path: Path) -> None:
    rows = {r["doc_id"]: r for r in read(FIXTURES / "kitchen", tmp_path).rows("corpus")}
    assert rows["hone"]["text_hash"] == rows["hone-2"]["text_hash"]
    assert rows["rest"]["text_hash"] == text_hash(f"Resting dough {rows['rest']['text']}")
    assert rows["caramel"]["text_hash"] == text_hash(rows["caramel"]["text"])


def test_fixture_is_counted(tmp_path: Path) -> None:
    result = read(FIXTURES / "kitchen", tmp_path)
    assert {name: count for name, count in result.counters.items() if count} == {
        "corpus.read": 14, "corpus.kept": 14, "corpus.same_text": 1,
        "queries.read": 11, "queries.kept": 10, "queries.unjudged": 1,
        "qrels.read": 14, "qrels.kept": 14,
    }  # fmt: skip
    assert result.facts["splits"] == {
        "train": {"queries": 6, "queries_with_positives": 6, "judgements": 8, "positives": 6},
        "dev": {"queries": 2, "queries_with_positives": 2, "judgements": 3, "positives": 2},
        "test": {"queries": 2, "queries_with_positives": 2, "judgements": 3, "positives": 3},
    }
    assert result.messages == ["1 queries without any judgement are left out"]


def doc(**fields: object) -> bytes:
    """Two documents, of which the second, on line 2, is a good one but for the fields given."""
    row = {"_id": "d2", "title": "Two", "text": "second document", **fields}
    return jsonl({"_id": "d1", "text": "first document"}, {k: v for k, v in row.items() if v is not ...})


def question(**fields: object) -> bytes:
    row = {"_id": "q2", "text": "second query", **fields}
    return jsonl({"_id": "q1", "text": "first query"}, {k: v for k, v in row.items() if v is not ...})


ONE, ASK = CORPUS.split(b"\n")[0] + b"\n", QUERIES.split(b"\n")[0] + b"\n"
C, Q, T = "corpus.jsonl line 2", "queries.jsonl line 2", "qrels/train.tsv line 3"

# (name, files, what the message has to hold): the file with its line, the column, the id and what is wrong
BAD_ROWS = [
    ("empty text", {"corpus": doc(title=None, text="")}, [C, "column 'text'", "id 'd2'", "an empty text"]),
    ("blank text", {"corpus": doc(title=None, text=" \t\u2003")}, [C, "column 'text'", "id 'd2'", "white space or invisible"]),
    ("invisible text", {"corpus": doc(title="", text="\u200b\ufeff\u0000")}, [C, "column 'text'", "id 'd2'", "invisible"]),
    ("blank title and text", {"corpus": doc(title=" ", text="")}, [C, "column 'text'", "id 'd2'", "an empty text"]),
    ("null text", {"corpus": doc(text=None)}, [C, "column 'text'", "id 'd2'", "null where a text belongs"]),
    ("NaN text", {"corpus": doc(text=float("nan"))}, [C, "column 'text'", "id 'd2'", "NaN where a text belongs"]),
    ("number as text", {"corpus": doc(text=3.5)}, [C, "column 'text'", "id 'd2'", "the number 3.5 where a text belongs"]),
    ("zero as text", {"corpus": doc(text=0)}, [C, "column 'text'", "id 'd2'", "the number 0"]),
    ("truth as text", {"corpus": doc(text=False)}, [C, "column 'text'", "id 'd2'", "the truth value false"]),
    ("list as text", {"corpus": doc(text=["a"])}, [C, "column 'text'", "id 'd2'", "a list where a text belongs"]),
    ("object as text", {"corpus": doc(text={"a": 1})}, [C, "column 'text'", "id 'd2'", "an object where a text belongs"]),
    ("surrogate in text", {"corpus": doc(text="ab\ud800c")}, [C, "column 'text'", "id 'd2'", "U+D800, at character 3"]),
    ("number as title", {"corpus": doc(title=7)}, [C, "column 'title'", "id 'd2'", "the number 7 where a title belongs"]),
    ("surrogate in title", {"corpus": doc(title="\udfff")}, [C, "column 'title'", "id 'd2'", "U+DFFF, at character 1"]),
    ("no text key", {"corpus": doc(text=...)}, [C, "column 'text'", "id 'd2'", "is missing; its keys are: _id, title"]),
    ("no id key", {"corpus": doc(_id=..., id="d2")}, [C, "column '_id'", "is missing; its keys are: title, text, id"]),
    ("number as id", {"corpus": doc(_id=1)}, [C, "column '_id'", "the number 1 where an id belongs", 'try:   ids are text', '"1"']),
    ("float as id", {"corpus": doc(_id=1e5)}, [C, "column '_id'", "the number 100000.0"]),
    ("null as id", {"corpus": doc(_id=None)}, [C, "column '_id'", "null where an id belongs"]),
    ("truth as id", {"corpus": doc(_id=True)}, [C, "column '_id'", "the truth value true"]),
    ("list as id", {"corpus": doc(_id=["d2"])}, [C, "column '_id'", "a list where an id belongs"]),
    ("empty id", {"corpus": doc(_id="")}, [C, "column '_id'", "an empty id"]),
    ("blank id", {"corpus": doc(_id="\t\n")}, [C, "column '_id'", r"id '\t\n'", "alone as an id"]),
    ("long id", {"corpus": doc(_id="é" * 513)}, [C, "column '_id'", "id 'ééé", "1,026 bytes; the limit is 1,024"]),
    ("surrogate in id", {"corpus": doc(_id="d\ud83d")}, [C, "column '_id'", r"id 'd\ud83d'", "U+D83D, at character 2"]),
    ("invalid UTF-8", {"corpus": ONE + b'{"_id": "d2", "text": "caf\xe9"}\n'}, [C, "0xe9 at byte 26 of the line, byte 82 of the file"]),
    ("cut UTF-8", {"corpus": ONE + b'{"_id": "d2\xc3'}, [C, "0xc3 at byte 11 of the line"]),
    ("broken JSON", {"corpus": ONE + b'{"_id": "d2", "text": }\n' + ONE}, [C, "broken JSON: Expecting value at character 23"]),
    ("cut line", {"corpus": ONE + b'{"_id": "d2", "text": "second'}, [C, "broken JSON: Unterminated string"]),
    ("two objects", {"corpus": ONE + b'{"_id": "d2"} {"_id": "d3"}\n'}, [C, "broken JSON: Extra data at character 15"]),
    ("array", {"corpus": ONE + b'["d2", "text"]\n'}, [C, "not a JSON object", "jq -c '.[]'"]),
    ("string", {"corpus": ONE + b'"d2"\n'}, [C, 'not a JSON object: "d2"']),
    ("deep", {"corpus": ONE + b"[" * 200_000 + b"\n"}, [C, "nested too deeply"]),
    ("long number", {"corpus": ONE + b'{"_id": ' + b"1" * 5000 + b"}\n"}, [C, "a JSON number that cannot be read"]),
    ("key twice", {"corpus": ONE + b'{"_id": "d2", "text": "a", "text": "b"}\n'}, [C, "the key 'text' occurs twice"]),
    ("after a blank line", {"corpus": b"\r\n\n" + doc(title="", text="")[:-1], "queries": QUERIES}, ["corpus.jsonl line 4", "id 'd2'"]),
    ("after U+2028", {"corpus": '{"_id": "d1", "text": "a\u2028b\x85c"}\n{"_id": "d2", "text": ""}'.encode()}, [C, "id 'd2'"]),
    ("empty query", {"queries": question(text="")}, [Q, "column 'text'", "id 'q2'", "an empty text"]),
    ("null query", {"queries": question(text=None)}, [Q, "column 'text'", "id 'q2'", "null where a text belongs"]),
    ("number as query", {"queries": question(text=12)}, [Q, "column 'text'", "id 'q2'", "the number 12"]),
    ("no query text", {"queries": question(text=...)}, [Q, "column 'text'", "id 'q2'", "is missing"]),
    ("number as query id", {"queries": question(_id=2)}, [Q, "column '_id'", "the number 2 where an id belongs"]),
    ("query not UTF-8", {"queries": ASK + b"\xff\n"}, [Q, "0xff at byte 0 of the line, byte 37 of the file"]),
    ("query not JSON", {"queries": ASK + b"q2\tsecond query\n"}, [Q, "broken JSON: Expecting value at character 1"]),
    ("two fields", {"train": HEADER + b"q1\td1\t1\nq2\td2\n"}, [T, "2 fields where 3 belong"]),
    ("TREC fields", {"train": HEADER + b"q1\td1\t1\nq2\t0\td2\t1\n"}, [T, "4 fields where 3 belong"]),
    ("blanks for tabs", {"train": HEADER + b"q1\td1\t1\nq2 d2 1\n"}, [T, "1 fields where 3 belong"]),
    ("score not whole", {"train": HEADER + b"q1\td1\t1\nq2\td2\t1.0\n"}, [T, "column 'score'", "id 'q2'", "'1.0' is not a whole number"]),
    ("score empty", {"train": HEADER + b"q1\td1\t1\nq2\td2\t\n"}, [T, "column 'score'", "id 'q2'", "'' is not a whole number"]),
    ("score too large", {"train": HEADER + b"q1\td1\t1\nq2\td2\t2147483648\n"}, [T, "column 'score'", "id 'q2'", "32 bits"]),
    ("header again", {"train": HEADER + b"q1\td1\t1\n" + HEADER}, [T, "column 'score'", "id 'query-id'"]),
    ("first score not whole", {"train": b"q1\td1\t0.5\n"}, ["qrels/train.tsv line 1", "column 'score'", "id 'q1'", "'0.5'"]),
    ("empty query id", {"train": HEADER + b"q1\td1\t1\n\td2\t1\n"}, [T, "column 'query-id'", "an empty id"]),
    ("empty document id", {"train": HEADER + b"q1\td1\t1\nq2\t\t1\n"}, [T, "column 'corpus-id'", "id 'q2'", "an empty id"]),
    ("qrels not UTF-8", {"train": HEADER + b"q1\td1\t1\nq\xff\td2\t1\n"}, [T, "0xff at byte 1 of the line, byte 34"]),
    ("open quote", {"train": HEADER + b'q1\td1\t1\n"q2\td2\t1\n'}, [T, "a quoted field that cannot be read"]),
    ("contradiction", {"train": HEADER + b"q1\td1\t1\nq1\td1\t0\n"},
     [T, "column 'score'", "id 'q1'", "is 0, and for the same document 1 in qrels/train.tsv line 2"]),
    ("two splits", {"train": TRAIN, "test": HEADER + b"q1\td2\t1\n"},
     ["qrels/test.tsv line 2", "id 'q1'", "in two splits, train and test"]),
    ("missing document", {"train": HEADER + b"q1\td1\t1\nq2\td9\t1\n"},
     [T, "column 'corpus-id'", "id 'q2'", "'d9' is not there", "missing_judgements_allowed = 1"]),
    ("missing query", {"train": HEADER + b"q1\td1\t1\nq9\td2\t1\n"}, [T, "column 'query-id'", "id 'q9'", "'q9' is not there"]),
]  # fmt: skip


@pytest.mark.parametrize(("files", "holds"), [pytest.param(f, h, id=n) for n, f, h in BAD_ROWS])
def test_bad_row_is_refused_with_its_place(tmp_path: Path, files: dict[str, bytes], holds: list[str]) -> None:
    folder = beir(tmp_path / "set", **files)
    with pytest.raises(InputError) as caught:
        read(folder, tmp_path)
    message = str(caught.value)
    assert str(folder) in message
    assert "\n  try:   " in message
    assert message.isprintable() or set(message) - {c for c in message if c.isprintable()} == {"\n"}
    for piece in holds:
        assert piece in message


@pytest.mark.parametrize(
    ("files", "holds"), [pytest.param(f, h, id=n) for n, f, h in BAD_ROWS if not n.startswith("missing")]
)
def test_bad_row_is_quarantined_with_its_place(tmp_path: Path, files: dict[str, bytes], holds: list[str]) -> None:
    good = {
        "corpus": b'{"_id": "d8", "text": "eighth"}',
        "queries": b'{"_id": "q8", "text": "eighth"}',
        "dev": b"q8\td8\t1",
    }
    files = {"train": TRAIN, **files}
    for name, row in good.items():
        content = files.get(name, {"corpus": CORPUS, "queries": QUERIES}.get(name, b""))
        files[name] = content + (b"" if content.endswith(b"\n") or not content else b"\n") + row
    result = read(beir(tmp_path / "set", **files), tmp_path, on_bad_row="quarantine", missing_judgements_allowed=3)
    first = result.rows("rejects")[0]
    assert f"{first['file']} line {first['line']}" in holds[0]
    if column := next((h for h in holds if h.startswith("column ")), None):
        assert first["column"] == column.removeprefix("column ").strip("'")
    assert first["reason"]
    assert first["mend"]
    assert ("q8", "d8", 1, "dev") in relevant(result)
    for table, leave in (("corpus", ()), ("queries", ("unjudged",)), ("qrels", ("repeated",))):
        counts = {n: result.counters.get(f"{table}.{n}", 0) for n in ("read", "kept", "rejected", *leave)}
        assert counts.pop("read") == sum(counts.values())
        assert counts["rejected"] == sum(r["table"] == table for r in result.rows("rejects"))


@pytest.mark.parametrize(
    ("files", "holds"),
    [
        pytest.param({"corpus": b""}, ["corpus: no row is left"], id="empty corpus"),
        pytest.param({"queries": b""}, ["queries: no row is left"], id="no queries"),
        pytest.param({"train": HEADER}, ["queries: no row is left", "queries.unjudged 2"], id="no judgements"),
        pytest.param({"train": HEADER + b"q1\td1\t0\n"}, ["no query has a relevant document"], id="no positives"),
        pytest.param({"corpus": b"\xff\xfe{\x00"}, ["UTF-16", "corpus.jsonl line 1", "iconv"], id="UTF-16"),
        pytest.param({"corpus": b"\x1f\x8b\x08\x00"}, ["gzip", "corpus.jsonl", "in line 1"], id="gzip header alone"),
        pytest.param({"corpus": b"\x1f\x8bnot gzip at all"}, ["gzip", "corpus.jsonl", "in line 1"], id="no gzip"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("policy", ["fail", "quarantine"])
def test_what_no_policy_mends(tmp_path: Path, files: dict[str, bytes], holds: list[str], policy: str) -> None:
    with pytest.raises(InputError) as caught:
        read(beir(tmp_path / "set", **files), tmp_path, on_bad_row=policy)
    for piece in holds:
        assert piece in str(caught.value)


def test_first_five_duplicate_ids_with_both_places(tmp_path: Path) -> None:
    ids = ["a", "b", "c", "a", "b", "c", "a", "b", "c", "x"]
    folder = beir(tmp_path / "set", corpus=jsonl(*({"_id": i, "text": f"text {n}"} for n, i in enumerate(ids))))
    with pytest.raises(InputError, match="occur more than once") as caught:
        read(folder, tmp_path)
    where = str(caught.value)
    assert "column '_id'" in where
    for key, first, second in (("a", 1, 4), ("b", 2, 5), ("c", 3, 6), ("a", 1, 7), ("b", 2, 8)):
        assert f"{key!r} in corpus.jsonl line {first} and in {folder / 'corpus.jsonl'} line {second}" in where
    assert "line 9" not in where


def test_quarantine_keeps_the_first_of_an_id(tmp_path: Path) -> None:
    corpus = CORPUS + b'{"_id": "d1", "text": "another"}\n'
    queries = QUERIES + b'{"_id": "q2", "text": "another"}\n'
    result = read(beir(tmp_path / "set", corpus, queries), tmp_path, on_bad_row="quarantine")
    assert [(r["doc_id"], r["text"]) for r in result.rows("corpus")] == [
        ("d1", "first document"),
        ("d2", "second document"),
    ]
    assert [(r["table"], r["line"], r["id"]) for r in result.rows("rejects")] == [
        ("corpus", 3, "d1"),
        ("queries", 3, "q2"),
    ]
    assert relevant(result) == {("q1", "d1", 1, "train"), ("q2", "d2", 1, "train")}


def test_judgements_of_rejected_rows_go_with_them(tmp_path: Path) -> None:
    corpus = CORPUS + b'{"_id": "d3", "text": ""}\n'
    queries = QUERIES + b'{"_id": "q3", "text": null}\n'
    train = TRAIN + b"q1\td3\t1\nq3\td1\t1\n"
    result = read(beir(tmp_path / "set", corpus, queries, train=train), tmp_path, on_bad_row="quarantine")
    assert relevant(result) == {("q1", "d1", 1, "train"), ("q2", "d2", 1, "train")}
    assert [(r["table"], r["line"], r["column"], r["id"]) for r in result.rows("rejects")] == [
        ("corpus", 3, "text", "d3"), ("qrels", 4, "corpus-id", "q1"), ("queries", 3, "text", "q3"), ("qrels", 5, "query-id", "q3"),
    ]  # fmt: skip
    assert result.counters["qrels.of_rejected"] == 2
    assert result.counters["qrels.missing_document"] == 0


def test_missing_judgements_within_the_number_are_listed(tmp_path: Path) -> None:
    folder = beir(tmp_path / "set", train=TRAIN + b"q1\td9\t1\nq9\td1\t1\n")
    result = read(folder, tmp_path, missing_judgements_allowed=2)
    assert relevant(result) == {("q1", "d1", 1, "train"), ("q2", "d2", 1, "train")}
    assert [(r["line"], r["column"], r["id"]) for r in result.rows("rejects")] == [
        (4, "corpus-id", "q1"),
        (5, "query-id", "q9"),
    ]
    assert result.counters["qrels.missing_document"] == result.counters["qrels.missing_query"] == 1
    for policy in ("fail", "quarantine"):
        with pytest.raises(InputError, match="2 judgements name") as caught:
            read(folder, tmp_path, missing_judgements_allowed=1, on_bad_row=policy)
        assert "line 4" in str(caught.value)
        assert "line 5" in str(caught.value)


def test_the_number_of_missing_judgements_is_told_in_full(tmp_path: Path) -> None:
    lines = b"".join(b"q1\tx%d\t1\n" % n for n in range(1500))
    with pytest.raises(InputError, match=r"qrels: 1,500 judgements") as caught:
        read(beir(tmp_path / "set", train=TRAIN + lines), tmp_path)
    assert str(caught.value).count("is not there") == 5


def test_a_query_without_a_positive_is_kept_counted_and_listed(tmp_path: Path) -> None:
    result = read(beir(tmp_path / "set", train=HEADER + b"q1\td1\t1\nq2\td1\t0\n"), tmp_path)
    assert [r["query_id"] for r in result.rows("queries")] == ["q1", "q2"]
    assert result.counters["queries.without_positives"] == 1
    assert result.facts["queries_without_positives"] == ["q2"]
    assert result.facts["splits"]["train"] == {
        "queries": 2,
        "queries_with_positives": 1,
        "judgements": 2,
        "positives": 1,
    }


def test_a_title_alone_is_a_document(tmp_path: Path) -> None:
    result = read(beir(tmp_path / "set", corpus=doc(title="Only a title", text="")), tmp_path)
    assert result.rows("corpus")[1]["title"] == "Only a title"
    assert result.counters["corpus.title_only"] == 1


def test_awkward_bytes_are_read_as_they_are(tmp_path: Path) -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x1cf\r\ng"
    corpus = b"\xef\xbb\xbf" + json.dumps({"_id": "d\t1", "text": text}, ensure_ascii=False).encode() + b"\r\n\r\n"
    corpus += b'{"_id": "../d\\n2", "text": "\xf0\x9f\x98\x80", "extra": NaN}'
    queries = b"\xef\xbb\xbf" + QUERIES.replace(b"\n", b"\r\n")
    train = b'\xef\xbb\xbfquery-id\tcorpus-id\tscore\r\nq1\t"d\t1"\t1\r\n\r\n'
    result = read(beir(tmp_path / "set", corpus, queries, train=train), tmp_path)
    assert [(r["doc_id"], r["text"]) for r in result.rows("corpus")] == [("d\t1", text), ("../d\n2", "\U0001f600")]
    assert relevant(result) == {("q1", "d\t1", 1, "train")}


def test_repeated_judgements_are_taken_once(tmp_path: Path) -> None:
    result = read(beir(tmp_path / "set", train=TRAIN + b"q1\td1\t1\nq1\td1\t+1\n"), tmp_path)
    assert relevant(result) == {("q1", "d1", 1, "train"), ("q2", "d2", 1, "train")}
    assert result.counters["qrels.repeated"] == 2
    assert result["qrels"].num_rows == 2


def test_of_contradicting_judgements_quarantine_keeps_the_first_read(tmp_path: Path) -> None:
    train = HEADER + b"q2\td2\t1\nq1\td1\t3\nq1\td1\t0\nq1\td1\t3\n"
    result = read(beir(tmp_path / "set", train=train), tmp_path, on_bad_row="quarantine")
    assert relevant(result) == {("q1", "d1", 3, "train"), ("q2", "d2", 1, "train")}
    assert [(r["line"], r["id"]) for r in result.rows("rejects")] == [(4, "q1")]
    assert result.counters["qrels.repeated"] == 1


def many(folder: Path, documents: int, queries: int) -> Path:
    corpus = jsonl(*({"_id": f"d{i}", "text": f"document {i}"} for i in range(documents)))
    asked = jsonl(*({"_id": f"q{i}", "text": f"query {i}"} for i in range(queries)))
    lines = {"train": HEADER, "test": HEADER}
    for i in range(queries):
        split = "train" if i % 2 else "test"
        lines[split] += (
            f"q{i}\td{i}\t{0 if i % 5 == 0 else 1}\nq{i}\td{documents - 1 - i}\t1\n".encode() if i % 7 else b""
        )
    return beir(folder, corpus, asked, **lines)


def test_limit_keeps_the_smallest_hashes(tmp_path: Path) -> None:
    folder = many(tmp_path / "set", 200, 40)
    whole, part = read(folder, tmp_path / "a"), read(folder, tmp_path / "b", limit=3)
    splits = {r["query_id"]: r["split"] for r in whole.rows("queries")}
    for split in ("train", "test"):
        expected = sorted((q for q in splits if splits[q] == split), key=stable_hash)[:3]
        assert {r["query_id"] for r in part.rows("queries") if r["split"] == split} == set(expected)
    kept = {r["query_id"] for r in part.rows("queries")}
    wanted = {d for q, d, relevance, _ in relevant(whole) if q in kept and relevance > 0}
    others = sorted({f"d{i}" for i in range(200)} - wanted, key=stable_hash)[: 30 - len(wanted)]
    assert {r["doc_id"] for r in part.rows("corpus")} == wanted | set(others)
    assert relevant(part) == {j for j in relevant(whole) if j[0] in kept and j[1] in wanted | set(others)}
    counts = part.counters
    assert counts["corpus.beyond_limit"] == 170
    assert counts["queries.beyond_limit"] + counts["queries.unjudged"] == 34
    assert counts["qrels.read"] == counts["qrels.kept"] + counts["qrels.beyond_limit"]


def test_limit_counts_queries_with_a_positive_alone(tmp_path: Path) -> None:
    queries = jsonl(*({"_id": f"q{i}", "text": f"query {i}"} for i in range(20)))
    lines = b"".join(b"q%d\td1\t%d\n" % (i, i == 13) for i in range(20))
    result = read(beir(tmp_path / "set", queries=queries, train=lines), tmp_path, limit=5)
    assert [r["query_id"] for r in result.rows("queries")] == ["q13"]


def test_limit_still_refuses_bad_rows(tmp_path: Path) -> None:
    folder = many(tmp_path / "set", 200, 40)
    with (folder / "corpus.jsonl").open("ab") as handle:
        handle.write(b'{"_id": "bad", "text": ""}\n')
    with pytest.raises(InputError, match="an empty text"):
        read(folder, tmp_path / "a", limit=1)
    result = read(folder, tmp_path / "b", limit=1, on_bad_row="quarantine")
    assert [r["id"] for r in result.rows("rejects")] == ["bad"]


@pytest.mark.parametrize("part_rows", [1, 7, 200])
def test_parts_do_not_change_the_tables(tmp_path: Path, part_rows: int) -> None:
    folder = many(tmp_path / "set", 50, 20)
    whole, parts = read(folder, tmp_path / "a"), read(folder, tmp_path / "b", part_rows=part_rows)
    for name in ("corpus", "queries", "qrels", "rejects"):
        assert parts[name].equals(whole[name])
    assert [t.num_rows for t in parts.tables["corpus"].tables][:-1] == [part_rows] * ((50 - 1) // part_rows)


def test_rejects_are_parted_too(tmp_path: Path) -> None:
    corpus = CORPUS + jsonl(*({"_id": f"x{i}", "text": ""} for i in range(25)))
    result = read(beir(tmp_path / "set", corpus), tmp_path, on_bad_row="quarantine", part_rows=2)
    assert [r["id"] for r in result.rows("rejects")] == [f"x{i}" for i in range(25)]


def test_place_is_no_part_of_the_key(tmp_path: Path) -> None:
    plain = config({"name": "beir", "path": "a"})
    assert plain.semantic() == config({"name": "beir", "path": "b"}).semantic()
    assert plain.semantic() != config({"name": "beir", "path": "b"}, part_rows=5).semantic()
    assert plain.semantic() != config({"name": "beir", "path": "a"}, limit=5).semantic()
    one, two = beir(tmp_path / "one"), beir(tmp_path / "two")
    prints = [ingest.external(config({"name": "beir", "path": str(p)}), {}, "cpu") for p in (one, two)]
    assert prints[0] == prints[1]
    (two / "corpus.jsonl").write_bytes(CORPUS.replace(b"first", b"First"))
    assert ingest.external(config({"name": "beir", "path": str(two)}), {}, "cpu") != prints[0]


def test_configuration_is_checked() -> None:
    for fields in ({"on_bad_row": "skip"}, {"limit": 0}, {"missing_judgements_allowed": -1}, {"id_byte": 3}):
        with pytest.raises(ConfigError):
            config({"name": "beir", "path": "a"}, **fields)


def test_ids_know_where_they_stand() -> None:
    ids = Ids()
    assert ids.add("a", "one", 3) is None
    ids.set_last(7)
    assert ids.add("b", "two", 4) is None
    assert ids.add("b", "three", 5) == "two line 4"
    ids.rejected.add("c")
    assert [ids.row(key) for key in ("a", "b", "c", "d")] == [7, -1, -2, -3]


def test_buffer_is_full_by_rows_or_by_characters() -> None:
    rows = Buffer(REJECTS, 2)
    rows.add("corpus", "f", 1, None, None, "r", "m")
    assert not rows.full
    rows.add("corpus", "f", 2, None, None, "r", "m")
    assert rows.full
    assert rows.take().num_rows == 2
    rows.add("corpus", "f", 1, None, None, "r", "m", characters=1 << 30)
    assert rows.full


def test_rows_that_are_not_accounted_for_are_a_fault() -> None:
    dataset = SimpleNamespace(name="x", column_names={})
    intake = Intake(dataset, fail=True, id_bytes=9, missing_allowed=0, part_rows=9, log=print)  # type: ignore[arg-type]
    intake.counts["corpus.read"] = 3
    intake.counts["corpus.kept"] = 2
    with pytest.raises(HardrockError, match="3 rows were read and 2"):
        intake.check_balance()


def test_bytes_are_no_text() -> None:
    wrong = wrong_text(b"text")
    assert wrong is not None
    assert wrong.reason == "bytes where a text belongs"
    wrong = wrong_id(b"id", 9)
    assert wrong is not None
    assert wrong.reason == "bytes where an id belongs"
