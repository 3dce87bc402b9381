"""Data sets of several files: MTEB, `datasets`, MS MARCO, TREC, ir_datasets."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.errors import ConfigError, InputError, ResourceError
from tests.stages.data import jsonl
from tests.stages.datasets.reading import by_id, ingested, judged


def write(folder: Path, **files: bytes) -> Path:
    """Files by name; `__` stands for a slash and `_DOT_` for nothing else than itself."""
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def files(folder: Path, given: dict[str, bytes]) -> Path:
    return write(folder, **{name.replace("/", "__"): content for name, content in given.items()})


CORPUS = [{"_id": "0001", "title": "One", "text": "first"}, {"_id": "1", "title": None, "text": "second"}]
QUERIES = [{"_id": "q1", "text": "one?"}, {"_id": "q2", "text": "two?"}]
QRELS = [{"query-id": "q1", "corpus-id": "0001", "score": 1}, {"query-id": "q2", "corpus-id": "1", "score": 0}]
TRUE = {("q1", "0001", 1, "test"), ("q2", "1", 0, "test")}


def mteb(folder: Path, *, card: bool, floats: bool = False) -> Path:
    for name, rows in (("corpus", CORPUS), ("queries", QUERIES)):
        (folder / name).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), folder / name / f"{name}-00000-of-00001.parquet")
    (folder / "qrels").mkdir()
    kind = pa.float64() if floats else pa.int32()
    table = pa.Table.from_pylist(QRELS).set_column(2, "score", pa.array([1, 0], kind))
    pq.write_table(table, folder / "qrels/test-00000-of-00001.parquet")
    if card:
        configs = [
            ("corpus", "corpus", "corpus/*"),
            ("queries", "queries", "queries/*.parquet"),
            ("default", "test", "qrels/test-*"),
        ]
        listed = "".join(
            f"- config_name: {name}\n  data_files:\n  - split: {split}\n    path: {path}\n"
            for name, split, path in configs
        )
        (folder / "README.md").write_text(f"---\nconfigs:\n{listed}---\n# A set\n")
    return folder


@pytest.mark.parametrize("card", [True, False])
@pytest.mark.parametrize("floats", [True, False])
def test_mteb(tmp_path: Path, card: bool, floats: bool) -> None:
    result = ingested("mteb", mteb(tmp_path / "set", card=card, floats=floats), tmp_path)
    assert by_id(result) == TRUE
    assert [(r["doc_id"], r["title"]) for r in result.rows("corpus")] == [("0001", "One"), ("1", None)]


def test_mteb_reads_what_datasets_reads(tmp_path: Path) -> None:
    import datasets

    folder = mteb(tmp_path / "set", card=True)
    result = ingested("mteb", folder, tmp_path)
    oracle = {
        name: datasets.load_dataset(str(folder), name, split=split, cache_dir=str(tmp_path / "cache"))
        for name, split in (("corpus", "corpus"), ("queries", "queries"), ("default", "test"))
    }
    assert [(r["doc_id"], r["text"]) for r in result.rows("corpus")] == [
        (r["_id"], r["text"]) for r in oracle["corpus"]
    ]
    assert {(q, d, s) for q, d, s, _ in by_id(result)} == {
        (r["query-id"], r["corpus-id"], r["score"]) for r in oracle["default"]
    }


def test_mteb_subset_instruction_and_jsonl(tmp_path: Path) -> None:
    renamed = [{"id" if k == "_id" else k: v for k, v in row.items()} for row in CORPUS]
    folder = files(tmp_path / "set", {
        "de-corpus.jsonl": jsonl(*renamed), "de-queries.jsonl": jsonl(*QUERIES), "de-qrels/test.jsonl": jsonl(*QRELS),
        "de-instruction.jsonl": jsonl({"query-id": "q1", "instruction": "Find: "}), "other.jsonl": jsonl({"a": "b"}),
    })  # fmt: skip
    result = ingested("mteb", folder, tmp_path, subset="de")
    assert by_id(result) == TRUE
    assert [r["prompt"] for r in result.rows("queries")] == ["Find: ", None]
    with pytest.raises(InputError, match="no configuration corpus"):
        ingested("mteb", folder, tmp_path)


def test_mteb_faults(tmp_path: Path) -> None:
    def folder(name: str, **rows: list[Any]) -> Path:
        given = {"corpus": CORPUS, "queries": QUERIES, "qrels/test": QRELS} | {
            k.replace("__", "/"): v for k, v in rows.items()
        }
        return files(tmp_path / name, {f"{k}.jsonl": jsonl(*v) for k, v in given.items()})

    for name, rows, holds in (
        ("a", {"corpus": [CORPUS[0], {"_id": "2"}]}, ["corpus.jsonl line 2", "'text'", "id '2'"]),
        ("b", {"queries": [QUERIES[0], {"text": "x"}]}, ["queries.jsonl line 2", "'_id'"]),
        (
            "c",
            {"qrels__test": [QRELS[0], {**QRELS[1], "score": 0.5}]},
            ["qrels/test.jsonl line 2", "'score'", "id 'q2'"],
        ),
        ("d", {"qrels__test": [QRELS[0], {"query-id": "q2", "score": 1}]}, ["qrels/test.jsonl line 2", "'corpus-id'"]),
        ("e", {"qrels__test": [QRELS[0], {**QRELS[1], "corpus-id": 1}]}, ["qrels/test.jsonl line 2", "the number 1"]),
    ):
        with pytest.raises(InputError) as caught:
            ingested("mteb", folder(name, **rows), tmp_path)
        for piece in holds:
            assert piece in str(caught.value)
    renamed = folder("f")
    (renamed / "qrels/test.jsonl").rename(renamed / "qrels/extra.jsonl")
    with pytest.raises(ConfigError, match="there is no 'extra'"):
        ingested("mteb", renamed, tmp_path, splits=["extra"])


def test_mteb_card_that_names_what_is_not_there(tmp_path: Path) -> None:
    folder = mteb(tmp_path / "set", card=True)
    (folder / "queries/queries-00000-of-00001.parquet").unlink()
    with pytest.raises(InputError, match="the card names files that are not there"):
        ingested("mteb", folder, tmp_path)
    (folder / "README.md").write_text("---\nconfigs: [\n---\n")
    with pytest.raises(InputError, match="not YAML"):
        ingested("mteb", folder, tmp_path)


@pytest.mark.parametrize("name", ["x" * 300, "*" + "[" * 3000, "ß" * 128, "d/" * 2500 + "f", "\\0"])
def test_a_name_that_no_file_can_have_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    (tmp_path / "card/README.md").write_text(f'---\nconfigs:\n- config_name: default\n  data_files: "{name}"\n---\n')
    with pytest.raises(InputError, match="the card names files that are not there"):
        ingested("huggingface", tmp_path / "card", tmp_path)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/state.json").write_text(json.dumps({"_data_files": [{"filename": name.replace("\\0", "\0")}]}))
    with pytest.raises(InputError, match="does not list the data files"):
        ingested("huggingface", tmp_path / "saved", tmp_path)


ROWS = {"query": ["bread", "soup"], "positive": ["wheat", "stock"], "negative": ["stone", "mud"]}
PAIRS = {("bread", "wheat", 1), ("soup", "stock", 1), ("bread", "stone", 0), ("soup", "mud", 0)}


def test_saved_to_disk(tmp_path: Path) -> None:
    import datasets

    rows = datasets.Dataset.from_dict(ROWS).shuffle(seed=1)
    rows.save_to_disk(str(tmp_path / "one"))
    assert judged(ingested("huggingface", tmp_path / "one", tmp_path)) == PAIRS
    both = datasets.DatasetDict(train=rows.select([0]), validation=rows.select([1]))
    both.save_to_disk(str(tmp_path / "both"))
    result = ingested("huggingface", tmp_path / "both", tmp_path)
    assert judged(result) == PAIRS
    assert [(r["text"], r["split"]) for r in result.rows("queries")] == [
        (rows[0]["query"], "train"),
        (rows[1]["query"], "dev"),
    ]
    only = ingested("huggingface", tmp_path / "both", tmp_path, splits=["train"])
    assert [r["text"] for r in only.rows("queries")] == [rows[0]["query"]]


@pytest.mark.parametrize("layout", ["data/train-00000-of-00001.parquet", "train/x.parquet", "anything.parquet"])
def test_a_folder_as_datasets_reads_it(tmp_path: Path, layout: str) -> None:
    import datasets

    (tmp_path / "set" / layout).parent.mkdir(parents=True)
    pq.write_table(pa.table(ROWS), tmp_path / "set" / layout)
    result = ingested("huggingface", tmp_path / "set", tmp_path)
    oracle = datasets.load_dataset(str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache"))
    assert judged(result) == {(r["query"], r["positive"], 1) for r in oracle} | {
        (r["query"], r["negative"], 0) for r in oracle
    }


def test_lists_written_as_text_and_ids_as_they_are(tmp_path: Path) -> None:
    folder = files(tmp_path / "set", {
        "train.csv": b"query,query_id,pos,neg\nbread,0001,\"['wheat', 'rye']\",\"['stone']\"\nsoup,1,\"['stock']\",[]\n",
    })  # fmt: skip
    result = ingested("huggingface", folder, tmp_path, anchor_id="query_id")
    assert judged(result) == {("bread", "wheat", 1), ("bread", "rye", 1), ("bread", "stone", 0), ("soup", "stock", 1)}
    assert [r["query_id"] for r in result.rows("queries")] == ["0001", "1"]
    assert any("lists written as text" in message for message in result.messages)


def test_passages_of_a_data_set_and_subsets(tmp_path: Path) -> None:
    row = {"query_id": "7", "query": "bread", "positive_passages": [{"docid": "a", "title": "T", "text": "wheat"}],
           "negative_passages": [{"docid": "b", "title": "", "text": "stone"}]}  # fmt: skip
    (tmp_path / "set/one").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "set/one/train-0.parquet")
    (tmp_path / "set/README.md").write_text(
        "---\nconfigs:\n- config_name: one\n  data_files: one/*.parquet\n- config_name: two\n  data_files: one/*\n---\n"
    )
    result = ingested("huggingface", tmp_path / "set", tmp_path, subset="one", dev=0, test=0)
    assert by_id(result) == {("7", "a", 1, "train"), ("7", "b", 0, "train")}
    with pytest.raises(ConfigError, match="there are several") as caught:
        ingested("huggingface", tmp_path / "set", tmp_path)
    assert "one, two" in str(caught.value)


def test_huggingface_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="one of the two"):
        ingested("huggingface", tmp_path, tmp_path, repo="a/b")
    with pytest.raises(InputError, match="is not there"):
        ingested("huggingface", tmp_path / "none", tmp_path)
    folder = files(tmp_path / "set", {"train.csv": b"sentence,label\na,1\n"})
    with pytest.raises(ConfigError, match="no column is known"):
        ingested("huggingface", folder, tmp_path)
    (tmp_path / "arrow").mkdir()
    (tmp_path / "arrow/state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
    (tmp_path / "arrow/data.arrow").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="the Arrow file cannot be read"):
        ingested("huggingface", tmp_path / "arrow", tmp_path)
    import huggingface_hub

    def offline(*args: Any, **more: Any) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(ResourceError, match="cannot be fetched"):
        ingested("huggingface", None, tmp_path, repo="a/b")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **m: str(mteb(tmp_path / "hub", card=True)))
    assert by_id(ingested("mteb", None, tmp_path, repo="mteb/x")) == TRUE


@pytest.mark.parametrize("nested", [False, True])
def test_offsets_of_an_arrow_stream_that_lead_out_of_its_bytes_are_refused(nested: bool, tmp_path: Path) -> None:
    """Read as they are, they end the process with a signal."""
    text = pa.StringArray.from_buffers(2, pa.py_buffer(struct.pack("<3i", 0, 1 << 30, 2)), pa.py_buffer(b"ab"))
    column = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), text) if nested else text
    table = pa.table({"query": ["bread", "soup"], "pos": column})
    (tmp_path / "in").mkdir()
    (tmp_path / "in/state.json").write_text('{"_data_files": [{"filename": "data.arrow"}], "_split": "train"}')
    with pa.ipc.new_stream(tmp_path / "in/data.arrow", table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(InputError, match="the Arrow file is damaged"):
        ingested("huggingface", tmp_path / "in", tmp_path)


MSMARCO = {
    "collection.tsv": b"0\tIt's the caf\xc3\x83\xc2\xa9 \"quoted\n1\tsecond\n2\tthird\n",
    "queries.train.tsv": b"10\tone?\n11\ttwo?\n",
    "queries.dev.tsv": b"11\ttwo?\n12\tthree?\n",
    "qrels.train.tsv": b"10\t0\t0\t1\n",
    "qrels.dev.small.tsv": b"12 0 2 1\n",
    "qidpidtriples.train.full.tsv": b"10\t0\t1\n10\t1\t0\n",
    "top1000.dev": b"",
}


def test_msmarco(tmp_path: Path) -> None:
    folder = files(tmp_path / "set", MSMARCO)
    result = ingested("msmarco", folder, tmp_path)
    assert by_id(result) == {("10", "0", 1, "train"), ("12", "2", 1, "dev")}
    assert result.rows("corpus")[0]["text"] == "It's the caf\u00c3\u00a9 \"quoted"
    assert any("qidpidtriples.train.full.tsv is not read" in message for message in result.messages)
    mended = ingested("msmarco", folder, tmp_path, fix_encoding=True, triples=True)
    assert mended.rows("corpus")[0]["text"] == "It's the caf\u00e9 \"quoted"
    assert by_id(mended) == {("10", "0", 1, "train"), ("10", "1", 1, "train"), ("12", "2", 1, "dev")}


def test_msmarco_documents_and_triples_of_texts(tmp_path: Path) -> None:
    docs = files(tmp_path / "docs", {
        "msmarco-docs.tsv": b"D1\thttp://a\tTitle\tBody\n", "msmarco-doctrain-queries.tsv": b"1\tone?\n",
        "msmarco-doctrain-qrels.tsv": b"1 0 D1 1\n",
    })  # fmt: skip
    result = ingested("msmarco", docs, tmp_path, dev=0, test=0)
    assert [(r["doc_id"], r["title"], r["text"]) for r in result.rows("corpus")] == [("D1", "Title", "Body")]
    texts = files(tmp_path / "texts", {"triples.train.small.tsv": b"bread\twheat\tstone\nsoup\tstock\twheat\n"})
    assert judged(ingested("msmarco", texts, tmp_path)) == {
        ("bread", "wheat", 1), ("bread", "stone", 0), ("soup", "stock", 1), ("soup", "wheat", 0)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("file", "content", "holds"),
    [
        ("collection.tsv", b"0\ta\n1\tb\tc\n", ["collection.tsv line 2", "3 fields where 2 belong"]),
        ("collection.tsv", b"0\ta\n1\t\xff\n", ["collection.tsv line 2", "byte 2 of the line"]),
        ("queries.train.tsv", b"10\tone?\n13\t\n", ["queries.train.tsv line 2", "id '13'", "an empty text"]),
        (
            "queries.dev.tsv",
            b"10\tother\n12\tthree?\n",
            ["queries.train.tsv line 1", "id '10'", "stands for another text"],
        ),
        (
            "qrels.train.tsv",
            b"10\t0\t0\t1\n10\t0\t1\tx1\n",
            ["qrels.train.tsv line 2", "'relevance'", "id '10'", "'x1'"],
        ),
        ("qrels.train.tsv", b"10\t0\t0\t1\n10 0\n", ["qrels.train.tsv line 2", "2 fields where 4 or 3 belong"]),
        ("qrels.train.tsv", b"10\t0\t9\t1\n", ["qrels.train.tsv line 1", "the document '9' is not there"]),
    ],
)
def test_msmarco_faults(tmp_path: Path, file: str, content: bytes, holds: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        ingested("msmarco", files(tmp_path / "set", {**MSMARCO, file: content}), tmp_path)
    for piece in ("try:", *holds):
        assert piece in str(caught.value)


def test_msmarco_lacks_and_clashes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="both the split train"):
        ingested("msmarco", files(tmp_path / "a", {**MSMARCO, "qrels.train.2.tsv": b""}), tmp_path)
    with pytest.raises(InputError, match=r"no queries\*.tsv"):
        ingested("msmarco", files(tmp_path / "b", {"collection.tsv": b"0\ta\n", "qrels.tsv": b"1 0 0 1\n"}), tmp_path)
    with pytest.raises(ConfigError, match=r"no 'qrels\.none\.tsv'"):
        ingested("msmarco", files(tmp_path / "c", MSMARCO), tmp_path, qrels=["qrels.none.tsv"])


SGML = b"""<top>
<num> Number: 301
<title> International Organized Crime
<desc> Description:
Identify organizations
that count.
<narr> Narrative:
Any.
</top>

<top>
<num> Number: 302 </num>
<title> Topic: Polio </title>
</top>
"""
XML = b"""<topics><topic number="301" type="faceted"><query>Crime &amp; punishment</query><description>Identify</description></topic>
<topic number="302"><title>Polio</title></topic></topics>"""
TREC = {
    "docs.jsonl": jsonl(
        {"docno": "FT-1", "contents": "first"}, {"docno": "FT-2", "title": "Two", "contents": "second"}
    ),
    "topics.txt": SGML,
    "test.qrels": b"301 0 FT-1 2\n301 0 FT-2 -2\n302  Q0\tFT-2 1\n",
}


@pytest.mark.parametrize(
    ("content", "first"),
    [(SGML, "International Organized Crime"), (XML, "Crime & punishment"), (b"301\tone: two\n302\tPolio\n", "one: two"),
     (b"301:one\n302:Polio\n", "one"), (SGML.replace(b"</top>", b""), "International Organized Crime")],
)  # fmt: skip
def test_trec_topics(tmp_path: Path, content: bytes, first: str) -> None:
    result = ingested("trec", files(tmp_path / "set", {**TREC, "topics.txt": content}), tmp_path)
    assert [(r["query_id"], r["text"]) for r in result.rows("queries")] == [("301", first), ("302", "Polio")]
    assert by_id(result) == {("301", "FT-1", 2, "test"), ("301", "FT-2", -2, "test"), ("302", "FT-2", 1, "test")}


def test_trec_forms_and_fields(tmp_path: Path) -> None:
    given = {
        "collection.tsv": b"FT-1\tfirst\nFT-2\tsecond\n",
        "topics.txt": SGML.replace(b"302", b"301"),
        "qrels.txt": b"301 FT-1 1\n",
    }
    one = SGML.split(b"\n\n")[0]
    folder = files(tmp_path / "set", {**given, "topics.txt": one})
    result = ingested("trec", folder, tmp_path, topic_field="description", dev=0.0, test=0.0)
    assert [r["text"] for r in result.rows("queries")] == ["Identify organizations that count."]
    assert by_id(result) == {("301", "FT-1", 1, "train")}
    with pytest.raises(InputError, match="ids that occur more than once"):
        ingested("trec", files(tmp_path / "twice", given), tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "holds"),
    [
        (
            "docs.jsonl",
            jsonl({"docno": "a", "contents": "x"}, {"docno": "b"}),
            ["docs.jsonl line 2", "'text'", "id 'b'"],
        ),
        ("topics.txt", SGML.replace(b"<num> Number: 302 </num>", b""), ["topics.txt line 11", "without a number"]),
        (
            "topics.txt",
            SGML.replace(b"<title> Topic: Polio </title>", b""),
            ["topics.txt line 11", "id '302'", "without a title"],
        ),
        ("topics.txt", b"301\ta\nnonsense\n", ["topics.txt line 2", "neither a topic"]),
        ("topics.txt", b"301\ta\n302\t\xff\n", ["topics.txt line 2", "invalid UTF-8"]),
        ("test.qrels", b"301 0 FT-1 1\n301 0 FT-2 1.5\n", ["test.qrels line 2", "'1.5'", "id '301'"]),
    ],
)
def test_trec_faults(tmp_path: Path, file: str, content: bytes, holds: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        ingested("trec", files(tmp_path / "set", {**TREC, file: content}), tmp_path)
    for piece in ("try:", str(tmp_path / "set"), *holds):
        assert piece in str(caught.value)


class _Fake:
    has_docs = has_queries = has_qrels = staticmethod(lambda: True)

    def __init__(self, queries: list[tuple[str, str]], qrels: list[tuple[str, str, int]]) -> None:
        self._queries, self._qrels = queries, qrels

    def docs_iter(self) -> Iterator[Any]:
        for key, text in (("0001", "first"), ("1", "second")):
            yield SimpleNamespace(doc_id=key, default_text=lambda text=text: text)

    def queries_iter(self) -> Iterator[Any]:
        yield from (SimpleNamespace(query_id=key, text=text) for key, text in self._queries)

    def qrels_iter(self) -> Iterator[Any]:
        yield from (SimpleNamespace(query_id=q, doc_id=d, relevance=r, iteration="0") for q, d, r in self._qrels)


def test_ir_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = {
        "a/train": _Fake([("q1", "one?")], [("q1", "0001", 1)]),
        "a/test": _Fake([("q1", "one?"), ("q2", "two?")], [("q2", "1", 2)]),
    }
    monkeypatch.setitem(sys.modules, "ir_datasets", SimpleNamespace(load=lambda name: sets[name], registry=sets))
    result = ingested("ir_datasets", None, tmp_path, train="a/train", test="a/test")
    assert by_id(result) == {("q1", "0001", 1, "train"), ("q2", "1", 2, "test")}
    with pytest.raises(ConfigError, match="knows no 'a/none'"):
        ingested("ir_datasets", None, tmp_path, id="a/none")
    with pytest.raises(ConfigError, match="or an id for each"):
        ingested("ir_datasets", None, tmp_path)


def test_ir_datasets_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(ResourceError, match="not installed") as caught:
        ingested("ir_datasets", None, tmp_path, id="beir/scifact/test")
    assert "pip install ir-datasets" in str(caught.value)
