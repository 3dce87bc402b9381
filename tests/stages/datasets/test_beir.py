from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from stages import ingest
from stages.datasets.beir import Beir
from stages.errors import ConfigError, InputError
from stages.records import Document, Judgement, Note
from tests import support
from tests.stages.data import CORPUS, QUERIES, TRAIN, beir, config, jsonl, read, relevant

ROWS = b"q1\td1\t1\nq2\td2\t1\n"


@pytest.mark.parametrize(
    ("content", "lines", "notes"),
    [
        (TRAIN, [2, 3], []),
        (ROWS, [1, 2], ["qrels/train.tsv has no header line: its first line is read as a judgement"]),
        (b"a\tb\trelevance\n" + ROWS, [2, 3], [r"qrels/train.tsv line 1 is taken as its header: a\tb\trelevance"]),
        (b"\n" + ROWS, [2, 3], ["qrels/train.tsv has no header line: its first line is read as a judgement"]),
        (ROWS[:-1], [1, 2], ["qrels/train.tsv has no header line: its first line is read as a judgement"]),
    ],
)
def test_header_is_found_or_told(tmp_path: Path, content: bytes, lines: list[int], notes: list[str]) -> None:
    items = list(Beir(path=str(beir(tmp_path, train=content))).judgements())
    assert [i.line for i in items if isinstance(i, Judgement)] == lines
    assert [(i.query_id, i.doc_id, i.relevance) for i in items if isinstance(i, Judgement)] == [
        ("q1", "d1", 1),
        ("q2", "d2", 1),
    ]
    assert [i.message for i in items if isinstance(i, Note)] == notes


def test_notes_reach_the_log(tmp_path: Path) -> None:
    assert any("no header line" in m for m in read(beir(tmp_path / "set", train=ROWS), tmp_path).messages)


def test_splits_are_chosen_by_name(tmp_path: Path) -> None:
    folder = beir(tmp_path, train=b"q1\td1\t1\n", validation=b"q2\td2\t1\n", extra=b"q1\td2\t1\n")
    everything = list(Beir(path=str(folder)).judgements())
    assert [(i.query_id, i.split) for i in everything if isinstance(i, Judgement)] == [("q1", "train"), ("q2", "dev")]
    assert any(isinstance(i, Note) and "qrels/extra.tsv is not read" in i.message for i in everything)
    one = list(Beir(path=str(folder), splits=("validation",)).judgements())
    assert [(i.query_id, i.split) for i in one if isinstance(i, Judgement)] == [("q2", "dev")]


def test_queries_of_other_splits_are_left_out(tmp_path: Path) -> None:
    folder = beir(tmp_path / "set", train=b"q1\td1\t1\n", test=b"q2\td2\t1\n")
    result = support.run(ingest, config({"name": "beir", "path": str(folder), "splits": ["test"]}), {}, tmp_path)
    assert relevant(result) == {("q2", "d2", 1, "test")}
    assert result.counters["queries.unjudged"] == 1


@pytest.mark.parametrize(
    ("splits", "qrels", "says"),
    [
        (("tset",), {"test": ROWS}, "there is no qrels/tset.tsv"),
        (("extra",), {"extra": ROWS}, "'extra' is none of train, dev, test"),
        ((), {"val": ROWS, "dev": ROWS}, "are both the split dev"),
    ],
)
def test_splits_that_cannot_be(tmp_path: Path, splits: tuple[str, ...], qrels: dict[str, bytes], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        list(Beir(path=str(beir(tmp_path, **qrels)), splits=splits).judgements())


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = beir(tmp_path)
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"has no {name}"):
        Beir(path=str(folder)).fingerprint()


def test_missing_folder_and_missing_qrels(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        Beir(path=str(tmp_path / "none")).fingerprint()
    assert "no such folder" in str(caught.value)
    with pytest.raises(InputError, match=r"no qrels of train, dev or test"):
        Beir(path=str(beir(tmp_path / "set", other=ROWS))).fingerprint()


def test_queries_and_qrels_of_a_prefix(tmp_path: Path) -> None:
    """As BEIR's loader has it: `prefix="gen"` takes gen-queries.jsonl and gen-qrels, and the corpus without a prefix."""
    folder = beir(tmp_path / "data")
    (folder / "gen-qrels").mkdir()
    (folder / "gen-queries.jsonl").write_bytes(jsonl({"_id": "made", "text": "a made query"}))
    first = json.loads((folder / "corpus.jsonl").read_bytes().split(b"\n")[0])["_id"]
    (folder / "gen-qrels/dev.tsv").write_text(f"query-id\tcorpus-id\tscore\nmade\t{first}\t1\n")
    result = support.run(ingest, config({"name": "beir", "path": str(folder), "prefix": "gen"}), {}, tmp_path / "out")
    assert relevant(result) == {("made", first, 1, "dev")}
    assert relevant(read(folder, tmp_path / "plain")) != relevant(result)
    with pytest.raises(InputError, match="other-qrels"):
        support.run(ingest, config({"name": "beir", "path": str(folder), "prefix": "other"}), {}, tmp_path / "none")


def test_two_files_for_one_are_refused(tmp_path: Path) -> None:
    folder = beir(tmp_path)
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(CORPUS))
    with pytest.raises(InputError, match=r"both corpus.jsonl and corpus.jsonl.gz"):
        list(Beir(path=str(folder)).documents())
    (folder / "qrels/train.tsv.gz").write_bytes(gzip.compress(TRAIN))
    with pytest.raises(InputError, match=r"both train.tsv and train.tsv.gz"):
        list(Beir(path=str(folder)).judgements())


def test_gzip_is_the_same_as_plain(tmp_path: Path) -> None:
    plain, packed = beir(tmp_path / "plain"), beir(tmp_path / "packed")
    for name, content in (("corpus.jsonl", CORPUS), ("queries.jsonl", QUERIES), ("qrels/train.tsv", TRAIN)):
        (packed / name).unlink()
        (packed / f"{name}.gz").write_bytes(gzip.compress(content))
    one, two = read(plain, tmp_path / "a"), read(packed, tmp_path / "b")
    for table in ("corpus", "queries", "qrels"):
        assert one[table].equals(two[table])


@pytest.mark.parametrize("cut", [0.3, 0.7, 0.99])
def test_truncated_gzip_names_the_line(tmp_path: Path, cut: float) -> None:
    rows = jsonl(*({"_id": f"d{i}", "text": f"document {i * 7919 % 1009}"} for i in range(5000)))
    packed = gzip.compress(rows)
    folder = beir(tmp_path)
    (folder / "corpus.jsonl").unlink()
    (folder / "corpus.jsonl.gz").write_bytes(packed[: int(len(packed) * cut)])
    before: list[int] = []
    with pytest.raises(InputError) as caught:
        before.extend(d.line for d in Beir(path=str(folder)).documents() if isinstance(d, Document))
    assert 0 < len(before) < 5000
    assert f"corpus.jsonl.gz after line {before[-1]}, in line {before[-1] + 1}" in str(caught.value)


def test_flipped_gzip_is_seen(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(CORPUS))
    packed[-6] ^= 1
    folder = beir(tmp_path, corpus=bytes(packed))
    with pytest.raises(InputError, match="cut off or damaged"):
        list(Beir(path=str(folder)).documents())


def test_fingerprint_is_of_content_and_of_the_splits_read(tmp_path: Path) -> None:
    one = beir(tmp_path / "one", train=ROWS, extra=ROWS)
    before = Beir(path=str(one)).fingerprint()
    (one / "qrels/extra.tsv").write_bytes(b"")
    assert Beir(path=str(one)).fingerprint() == before
    (one / "corpus.jsonl").touch()
    assert Beir(path=str(one)).fingerprint() == before
    (one / "qrels/test.tsv").write_bytes(b"")
    assert Beir(path=str(one)).fingerprint() != before


def test_quoted_ids_are_read_as_the_loader_of_beir_does(tmp_path: Path) -> None:
    corpus = jsonl({"_id": 'a "b"', "text": "x"}, {"_id": "a\tb", "text": "y"})
    train = b'q1\t"a ""b"""\t1\nq2\t"a\tb"\t1\n'
    result = read(beir(tmp_path / "set", corpus, train=train), tmp_path)
    assert relevant(result) == {("q1", 'a "b"', 1, "train"), ("q2", "a\tb", 1, "train")}
