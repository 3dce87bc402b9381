"""A corpus and nothing else: which query belongs to which documents, in which split, from which source."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages import ingest
from stages.errors import ConfigError, InputError
from stages.registry import build
from stages.settings import parse
from stages.text import join_title, normalise
from tests import support
from tests.stages.data import beir, config, jsonl, relevant

TEXTS = [
    {"id": "a", "title": "Red fox", "text": "It hunts mice in the snow and sleeps in its den."},
    {"id": "b", "title": "Green tea", "text": "Water that boils makes the leaves bitter, so wait a little."},
    {"id": "c", "title": "", "text": "A text without a title, of eleven words in all here."},
    {"id": "d", "title": "Only a title", "text": ""},
]
TITLE = {"title": {}}


def rows(path, *documents):
    path.write_bytes(jsonl(*documents))
    return path


def read(path, folder, views=None, policy=None, **fields):
    dataset = {"name": "corpus", "path": str(path), "views": views or TITLE, **fields}
    return support.run(ingest, config(dataset, **(policy or {})), {}, folder)


def queries(result):
    return {row["query_id"]: (row["text"], row["source"], row["split"]) for row in result.rows("queries")}


def positives(result):
    return {(query, document) for query, document, grade, _ in relevant(result) if grade > 0}


def test_titles_find_their_bodies_and_documents_lose_them(tmp_path):
    result = read(rows(tmp_path / "c.jsonl", *TEXTS), tmp_path, dev=0, test=0)
    assert queries(result) == {
        "title/a/1": ("Red fox", "title", "train"),
        "title/b/1": ("Green tea", "title", "train"),
    }
    assert positives(result) == {("title/a/1", "a"), ("title/b/1", "b")}
    assert {row["source"] for row in result.rows("qrels")} == {"title"}
    held = {row["doc_id"]: (row["title"], row["text"]) for row in result.rows("corpus")}
    assert held == {each["id"]: (None, each["text"]) for each in TEXTS[:3]} | {"d": ("Only a title", "")}
    assert result.counters["views.title.documents_without"] == 2
    assert result.counters["views.title.queries"] == 2


def test_titles_stay_where_no_view_takes_them_or_where_they_are_asked_for(tmp_path):
    path = rows(tmp_path / "c.jsonl", *TEXTS)
    for number, (views, fields) in enumerate([({"crop": {}}, {}), (TITLE, {"keep_titles": True})]):
        result = read(path, tmp_path / str(number), views, dev=0, test=0, **fields)
        assert [row["title"] for row in result.rows("corpus")] == ["Red fox", "Green tea", None, "Only a title"]
        assert any("words alone" in message for message in result.messages) == ("title" in views)
    crop = read(path, tmp_path / "crop", {"crop": {"crops": 20}}, dev=0, test=0)
    wholes = {each["id"]: join_title(each["title"], each["text"]) for each in TEXTS}
    texts = {row["query_id"]: row["text"] for row in crop.rows("queries")}
    assert all(texts[query] in wholes[document] for query, document in positives(crop))
    assert {document for _, document in positives(crop)} == {"a", "b", "c"}


def write(folder, kind):
    """The same two documents in each format."""
    two = TEXTS[:2]
    if kind in ("csv", "tsv"):
        mark = {"csv": ",", "tsv": "\t"}[kind]
        lines = [mark.join(two[0]), *(mark.join(f'"{cell}"' for cell in each.values()) for each in two)]
        (folder / f"c.{kind}").write_text("\n".join(lines) + "\n")
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(two), folder / "c.parquet")
    elif kind == "jsonl.gz":
        (folder / "c.jsonl.gz").write_bytes(gzip.compress(jsonl(*two)))
    elif kind == "folder of files":
        (folder / "c").mkdir()
        rows(folder / "c/1.jsonl", two[0])
        rows(folder / "c/2.jsonl", two[1])
    else:
        rows(folder / "c.jsonl", *two)
    return folder / ("c" if kind == "folder of files" else f"c.{kind}")


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "csv", "tsv", "parquet", "folder of files"])
def test_every_format_gives_the_same(tmp_path, kind):
    result = read(write(tmp_path, kind), tmp_path, dev=0, test=0)
    assert positives(result) == {("title/a/1", "a"), ("title/b/1", "b")}
    assert [(row["doc_id"], row["text"]) for row in result.rows("corpus")] == [(e["id"], e["text"]) for e in TEXTS[:2]]
    assert "columns taken: id = id, title = title, text = text" in result.messages


def test_a_folder_of_texts(tmp_path):
    folder = tmp_path / "texts"
    (folder / "deep").mkdir(parents=True)
    (folder / "one.md").write_text("\ufeff\n# The heading #\n\nThe body.\n\n## Another\n\nMore.\n", encoding="utf-8")
    (folder / "deep/two.txt").write_text("# Not a heading\nSecond line\n")
    (folder / "three.MD").write_text("No heading.\n# Later\n")
    (folder / ".hidden.txt").write_text("no")
    (folder / "image.png").write_bytes(b"\x89PNG")
    result = read(folder, tmp_path, dev=0, test=0)
    assert {row["doc_id"]: row["text"] for row in result.rows("corpus")} == {
        "deep/two.txt": "# Not a heading\nSecond line",
        "one.md": "The body.\n\n## Another\n\nMore.",
        "three.MD": "No heading.\n# Later",
    }
    assert queries(result) == {"title/one.md/1": ("The heading", "title", "train")}
    assert positives(result) == {("title/one.md/1", "one.md")}


def test_a_text_that_is_not_utf8_or_empty_is_a_bad_row(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.md").write_text("# Fine\nbody")
    (folder / "b.txt").write_bytes(b"good\nbad \xff\n")
    (folder / "c.txt").write_text("")
    with pytest.raises(InputError, match="invalid UTF-8") as error:
        read(folder, tmp_path)
    assert "b.txt line 2" in str(error.value)
    result = read(folder, tmp_path, policy={"on_bad_row": "quarantine"}, dev=0, test=0)
    assert [row["doc_id"] for row in result.rows("corpus")] == ["a.md"]
    assert {(row["id"], row["line"]) for row in result.rows("rejects")} == {("b.txt", 2), ("c.txt", 1)}


def test_without_ids_the_text_is_the_id(tmp_path):
    path = rows(tmp_path / "c.jsonl", {"text": "one"}, {"text": "two"}, {"text": "one"}, {"text": "one", "title": "T"})
    result = read(path, tmp_path, {"same_text": {}}, dev=0, test=0)
    assert [(row["title"], row["text"]) for row in result.rows("corpus")] == [
        (None, "one"),
        (None, "two"),
        ("T", "one"),
    ]
    assert any("1 rows repeat a document" in message for message in result.messages)
    again = read(rows(tmp_path / "d.jsonl", {"text": "two"}), tmp_path / "again", {"same_text": {}}, dev=0, test=0)
    assert again.rows("corpus")[0]["doc_id"] == result.rows("corpus")[1]["doc_id"]


def test_copies_are_judged_too_and_one_query_stands_for_all(tmp_path):
    path = rows(
        tmp_path / "c.jsonl",
        {"id": "x", "title": "One", "text": "the very same text"},
        {"id": "y", "title": "Two", "text": "The  very SAME text"},
        {"id": "z", "title": "One", "text": "something else altogether"},
    )
    result = read(path, tmp_path, {"title": {}, "same_text": {}}, dev=0, test=0)
    assert positives(result) == {
        ("title/x/1", "x"), ("title/x/1", "y"), ("title/x/1", "z"),  # two documents have the title One
        ("same_text/x/1", "x"), ("same_text/x/1", "y"), ("same_text/z/1", "z"),
    }  # fmt: skip
    assert result.counters["views.copies"] == 1
    assert result.counters["qrels.repeated"] == 0


def test_a_query_of_several_splits_is_left_out(tmp_path):
    documents = [{"id": f"d{i}", "title": "Home" if i % 2 else f"Title {i}", "text": f"text {i}"} for i in range(40)]
    result = read(rows(tmp_path / "c.jsonl", *documents), tmp_path, dev=0.3, test=0.3)
    assert {text for text, _, _ in queries(result).values()} == {f"Title {i}" for i in range(0, 40, 2)}
    assert result.counters["views.in_several_splits"] == 20
    alone = read(rows(tmp_path / "c.jsonl", *documents), tmp_path / "alone", dev=0, test=0)
    assert {pair for pair in positives(alone) if pair[0] == "title/d1/1"} == {
        ("title/d1/1", f"d{i}") for i in range(1, 40, 2)
    }


def test_splits_have_the_shares_that_are_asked_for_and_the_seed_moves_them(tmp_path):
    path = rows(tmp_path / "c.jsonl", *({"id": f"d{i}", "text": f"text number {i} of many"} for i in range(2000)))
    found = []
    for seed in (0, 1):
        result = read(path, tmp_path / str(seed), {"same_text": {}}, dev=0.2, test=0.3, seed=seed)
        splits = [split for _, _, split in queries(result).values()]
        assert abs(splits.count("dev") / 2000 - 0.2) < 0.04
        assert abs(splits.count("test") / 2000 - 0.3) < 0.04
        found.append(splits)
    assert found[0] != found[1]


def real(tmp_path):
    """Four documents, real queries beside them, one of which has the text of a title."""
    rows(tmp_path / "q.jsonl", {"_id": "q1", "text": "what hunts mice"}, {"_id": "q2", "text": "GREEN tea"}, {"_id": "q3", "text": "x"})  # fmt: skip
    (tmp_path / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\ta\t2\nq1\tb\t0\n")
    (tmp_path / "train.tsv").write_text("q2\tb\t1\n")
    return rows(tmp_path / "c.jsonl", *TEXTS)


def test_real_queries_stand_beside_made_ones(tmp_path):
    path = real(tmp_path)
    files = {"queries": str(tmp_path / "q.jsonl"), "qrels": {n: str(tmp_path / f"{n}.tsv") for n in ("train", "test")}}
    result = read(path, tmp_path / "a", dev=0, **files)
    assert queries(result) == {
        "q1": ("what hunts mice", "given", "test"),
        "title/a/1": ("Red fox", "title", "train"),
        "title/b/1": ("Green tea", "title", "train"),
    }
    assert relevant(result) == {
        ("q1", "a", 2, "test"), ("q1", "b", 0, "test"), ("title/a/1", "a", 1, "train"), ("title/b/1", "b", 1, "train"),
    }  # fmt: skip
    assert {(row["query_row"], row["source"]) for row in result.rows("qrels")} == {
        (0, "given"),
        (1, "title"),
        (2, "title"),
    }
    every = read(path, tmp_path / "b", dev=0, given_splits=["train", "test"], **files)
    assert queries(every).keys() == {"q1", "q2", "title/a/1"}  # the made one would repeat q2
    assert every.counters["views.given_too"] == 1
    assert ("q2", "b", 1, "train") in relevant(every)


def test_the_documents_and_real_queries_of_another_data_set(tmp_path):
    folder = beir(
        tmp_path / "beir",
        jsonl(*({"_id": each["id"], "title": each["title"], "text": each["text"]} for each in TEXTS)),
        jsonl({"_id": "q1", "text": "mice"}, {"_id": "q2", "text": "leaves"}, {"_id": "q3", "text": "unjudged"}),
        train=b"query-id\tcorpus-id\tscore\nq2\tb\t1\n",
        test=b"query-id\tcorpus-id\tscore\nq1\ta\t1\n",
    )
    dataset = {"name": "corpus", "base": {"name": "beir", "path": str(folder)}, "views": TITLE, "dev": 0}
    result = support.run(ingest, config(dataset), {}, tmp_path)
    assert queries(result).keys() == {"q1", "title/a/1", "title/b/1"}
    assert relevant(result) == {("q1", "a", 1, "test"), ("title/a/1", "a", 1, "train"), ("title/b/1", "b", 1, "train")}
    limited = support.run(ingest, config(dataset, limit=1), {}, tmp_path)
    assert limited.counters["queries.kept"] == 2  # one a split
    assert limited.counters["corpus.kept"] == 4


def test_bad_documents_are_not_made_into_queries(tmp_path):
    documents = [
        *TEXTS[:2],
        {"id": "a", "title": "Again", "text": "an id that is taken"},
        {"id": "n", "title": "Null", "text": None},
        {"id": 7, "title": "Number", "text": "an id that is no text"},
        {"title": "No id", "text": "here"},
        {"id": "s", "title": "\ud800", "text": "half a character"},
    ]
    path = rows(tmp_path / "c.jsonl", *documents)
    with pytest.raises(InputError, match="corpus"):
        read(path, tmp_path)
    result = read(path, tmp_path, policy={"on_bad_row": "quarantine"}, dev=0, test=0)
    assert positives(result) == {("title/a/1", "a"), ("title/b/1", "b")}
    assert [(row["line"], row["column"]) for row in result.rows("rejects")] == [
        (3, "id"), (4, "text"), (5, "id"), (6, "id"), (7, "title"),
    ]  # fmt: skip


def test_columns_of_other_names(tmp_path):
    path = rows(tmp_path / "c.jsonl", {"key": "k1", "head": "H", "words": "w w", "of": "book"})
    fields = {"id": "key", "title": "head", "text": "words", "group": "of"}
    result = read(path, tmp_path, dev=0, test=0, **fields)
    assert positives(result) == {("title/k1/1", "k1")}
    assert result.rows("corpus")[0]["group"] == "book"
    with pytest.raises(ConfigError, match="no column 'wrods'") as error:
        read(path, tmp_path, **(fields | {"text": "wrods"}))
    assert "did you mean 'words'" in str(error.value)
    with pytest.raises(ConfigError, match="no column is known as the text"):
        read(path, tmp_path)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "from a path or from a base"),
        ({"path": "x", "base": {"name": "icd10cm"}}, "from a path or from a base"),
        ({"path": "x", "views": {}}, "no view makes queries"),
        ({"path": "x", "dev": 0.6, "test": 0.6}, "shares of one whole"),
        ({"path": "x", "queries": "q.jsonl"}, "need both"),
        ({"path": "x", "qrels": {"tset": "t.tsv"}}, "none of train, dev, test"),
        ({"base": {"name": "icd10cm"}, "text": "t"}, "those of a path"),
        ({"path": "x", "views": [{"name": "crop"}, {"name": "crop"}]}, "occurs twice"),
        ({"path": "x", "views": {"corp": {}}}, "did you mean 'crop'"),
        ({"base": {"name": "corpus", "path": "x", "views": TITLE}}, "makes its queries itself"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(fields, says):
    with pytest.raises(ConfigError) as error:
        parse(ingest.IngestConfig, {"dataset": {"name": "corpus", "views": TITLE, **fields}}, "ingest")
    assert says in str(error.value)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(InputError, match="not there"):
        read(tmp_path / "none", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no documents"):
        read(tmp_path / "empty", tmp_path)
    rows(tmp_path / "empty/a.jsonl", *TEXTS)
    (tmp_path / "empty/b.txt").write_text("text")
    with pytest.raises(InputError, match="in one folder"):
        read(tmp_path / "empty", tmp_path)
    with pytest.raises(InputError, match="no row is left"):
        read(rows(tmp_path / "c.jsonl", {"text": "no title"}), tmp_path)


def test_the_fingerprint_is_of_contents(tmp_path):
    def fingerprint(path, **fields):
        return build("datasets", "corpus", {"path": str(path), "views": TITLE, **fields}).fingerprint()

    path = real(tmp_path)
    plain = fingerprint(path)
    (tmp_path / "moved").mkdir()
    assert fingerprint(path.rename(tmp_path / "moved/c.jsonl")) == plain
    path = tmp_path / "moved/c.jsonl"
    beside = {"queries": str(tmp_path / "q.jsonl")}
    one = fingerprint(path, qrels={"test": str(tmp_path / "test.tsv")}, **beside)
    other = fingerprint(path, qrels={"dev": str(tmp_path / "test.tsv")}, **beside)
    rows(path, *TEXTS[:2])
    assert len({plain, one, other, fingerprint(path)}) == 4


def test_written_queries_come_through_ingest_with_their_source(tmp_path, stub):
    asked = stub(lambda model, prompt: "mice in snow\nunheard of" if "mice" in prompt else "bitter leaves")
    writer = {"name": "endpoint", "url": asked.url, "model": "m", "workers": 1}
    views = {"synthetic": {"writer": writer, "queries": 2, "within": 1}, "title": {}}
    cache = support.MemoryCache()
    dataset = {
        "name": "corpus",
        "path": str(rows(tmp_path / "c.jsonl", *TEXTS[:2])),
        "views": views,
        "dev": 0,
        "test": 0,
    }
    result = support.run(ingest, config(dataset), {}, tmp_path, cache=cache)
    assert {query: (text, source) for query, (text, source, _) in queries(result).items()} == {
        "synthetic/a/1": ("mice in snow", "synthetic"),
        "synthetic/b/1": ("bitter leaves", "synthetic"),
        "title/a/1": ("Red fox", "title"),
        "title/b/1": ("Green tea", "title"),
    }
    assert result.counters["views.synthetic.dropped_not_found"] == 1
    assert result.counters["views.synthetic.written"] == 3
    assert {row["source"] for row in result.rows("qrels")} == {"synthetic", "title"}
    again = support.run(ingest, config(dataset), {}, tmp_path, cache=cache)
    assert all(again[name].equals(result[name]) for name in ("corpus", "queries", "qrels"))
    assert len(asked.asked) == 2


def test_texts_of_a_corpus_never_straddle(tmp_path):
    """Bodies that are the same under other titles, and titles that are the same with their bodies, stay together."""
    documents = [{"id": f"d{i}", "title": f"T{i % 7}", "text": f"body {i % 11}"} for i in range(77)]
    result = read(rows(tmp_path / "c.jsonl", *documents), tmp_path, {"same_text": {}}, dev=0.3, test=0.3)
    by_body = {}
    for _, document, _, split in relevant(result):
        by_body.setdefault(normalise(documents[int(document[1:])]["text"]), set()).add(split)
    assert {len(splits) for splits in by_body.values()} == {1}
    assert len({split for splits in by_body.values() for split in splits}) > 1
    assert json.dumps(result.counters)
