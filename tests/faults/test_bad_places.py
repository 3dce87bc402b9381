"""Each reader refuses what is no file where one belongs, and says what stands there; none waits, and none reads without end."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages import ingest
from stages.errors import ConfigError, InputError
from tests import support
from tests.faults.bad_places import PACKED, PLACES, READERS, members
from tests.fuzz.seeds import FILE
from tests.fuzz.test_readers import write
from tests.stages.data import beir, config, read, read_pairs

LOOKING = ("mteb", "msmarco", "trec")
"""Readers that look for files by several names: to them what is no file is not there."""


def spoilt(reader: str, folder: Path, name: str, place: str) -> InputError:
    files, fields = READERS[reader]
    write(folder, {other: content for other, content in files.items() if other != name})
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    PLACES[place][0](folder / name)
    path = folder / fields[FILE] if FILE in fields else folder
    own = {key: value for key, value in fields.items() if key != FILE}
    with pytest.raises(InputError) as caught:
        support.run(ingest, config({"name": reader, "path": str(path), **own}), {}, folder)
    return caught.value


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_refused(tmp_path, reader, place):
    names, named = members(reader)
    for number, name in enumerate(names):
        folder = tmp_path / str(number)
        folder.mkdir()
        error = spoilt(reader, folder, name, place)
        assert str(folder) in str(error)
        if name != named and reader not in LOOKING:
            assert PLACES[place][1] in str(error), (name, str(error))


@pytest.mark.parametrize("reader", ["pairs", "flagembedding", "tevatron", "huggingface", "corpus"])
@pytest.mark.parametrize("place", [place for place in PLACES if place != "a folder"])
def test_none_of_a_folder_is_passed_over(tmp_path, reader, place):
    """A file that cannot be read, beside one that can, would else be missing from the data without a word."""
    row = '{"anchor": "a", "positive": "b", "query": "a", "pos": ["b"], "neg": ["c"], "positive_passages": ["b"], "negative_passages": ["c"], "id": "1", "title": "t", "text": "b"}\n'
    (tmp_path / "train.jsonl").write_text(row)
    PLACES[place][0](tmp_path / "train-2.jsonl")
    fields = {"views": {"title": {}}} if reader == "corpus" else {}
    with pytest.raises(InputError, match="cannot be read") as caught:
        support.run(ingest, config({"name": reader, "path": str(tmp_path), **fields}), {}, tmp_path)
    assert "train-2.jsonl" in str(caught.value)


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("policy", ["fail", "quarantine"])
def test_a_file_that_is_packed_in_another_way_is_told_by_its_kind(tmp_path, kind, policy):
    content, says = PACKED[kind]
    with pytest.raises(InputError, match=f"the file is {says}, and"):
        read(beir(tmp_path / "set", corpus=content), tmp_path, on_bad_row=policy)


def test_ten_thousand_columns_are_read_and_told_in_a_line(tmp_path):
    names = [f"c{i}" for i in range(10_000)]
    (tmp_path / "p.csv").write_text(f"{','.join(names)}\n{','.join(names)}\n")
    with pytest.raises(ConfigError) as caught:
        read_pairs(tmp_path / "p.csv", tmp_path / "scratch")
    assert "c49 and 9,950 more" in str(caught.value)
    (tmp_path / "q.csv").write_text(f"anchor,positive,{','.join(names)}\na,b,{','.join(names)}\n")
    assert len(read_pairs(tmp_path / "q.csv", tmp_path / "scratch").rows("corpus")) == 1
    (tmp_path / "r.csv").write_text(f"anchor,{','.join(names)},anchor\n")
    with pytest.raises(InputError, match="'anchor' occurs twice"):
        read_pairs(tmp_path / "r.csv", tmp_path / "scratch")


def test_a_row_of_sparse_groups_and_of_none(tmp_path):
    """Row groups without rows, in the middle and alone, and files without any."""
    schema = pa.schema([("anchor", pa.string()), ("positive", pa.string())])
    for name, rows in (("none", []), ("empty", [[]]), ("some", [[("a", "b")], [], [("c", "d")]])):
        path = tmp_path / f"{name}.parquet"
        with pq.ParquetWriter(path, schema) as writer:
            for group in rows:
                anchors, positives = [a for a, _ in group], [p for _, p in group]
                writer.write_table(pa.table({"anchor": anchors, "positive": positives}, schema=schema))
        if name == "some":
            assert len(read_pairs(path, tmp_path / "scratch").rows("queries")) == 2
        else:
            with pytest.raises(InputError, match="corpus: no row is left"):
                read_pairs(path, tmp_path / "scratch")


@pytest.mark.parametrize("ends", [b"\r", b"\n\r"])
def test_a_carriage_return_alone_is_named(tmp_path, ends):
    (tmp_path / "p.csv").write_bytes(ends.join([b"anchor,positive", b"a,b", b"c,d"]) + b"\n")
    with pytest.raises(InputError, match="a carriage return stands outside of quotes") as caught:
        read_pairs(tmp_path / "p.csv", tmp_path / "scratch")
    assert "tr '" in str(caught.value)


def test_when_nothing_is_left_the_first_reason_is_told(tmp_path):
    with pytest.raises(InputError, match="corpus: no row is left") as caught:
        read(beir(tmp_path / "set", corpus=b"{\n" * 3), tmp_path, on_bad_row="quarantine")
    assert "the first that was rejected: broken JSON" in str(caught.value)
    assert "corpus.jsonl line 1" in str(caught.value)


def test_bytes_after_a_gzip_file_are_damage_and_zeros_are_not(tmp_path):
    from tests.stages.data import CORPUS

    folder = beir(tmp_path / "set")
    (folder / "corpus.jsonl").unlink()
    packed = folder / "corpus.jsonl.gz"
    packed.write_bytes(gzip.compress(CORPUS) + b"\0" * 64)
    assert len(read(folder, tmp_path).rows("corpus")) == 2
    packed.write_bytes(gzip.compress(CORPUS) + b"more")
    with pytest.raises(InputError, match="cut off or damaged"):
        read(folder, tmp_path)


def test_a_row_with_a_bad_query_is_the_reason_when_no_document_is_left(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"anchor": null, "positive": "x"}\n')
    with pytest.raises(InputError, match="corpus: no row is left") as caught:
        read_pairs(tmp_path / "p.jsonl", tmp_path / "scratch")
    assert "null where a text belongs" in str(caught.value)
    assert "line 1, column 'anchor'" in str(caught.value)


@pytest.mark.parametrize("value", ["NaN", "inf", "null", "N/A", "-", "none"])
@pytest.mark.parametrize("reader", ["beir", "trec"])
def test_what_is_no_number_in_the_first_line_of_qrels_is_no_header(tmp_path, reader, value):
    files = dict(READERS[reader][0])
    (name,) = (name for name in files if "qrels" in name)
    *lines, last = files[name].rstrip(b"\n").split(b"\n")
    given = last[: last.rindex(last.split()[-1])] + value.encode()
    write(tmp_path, {**files, name: b"\n".join([given, *lines[1:], last])})
    with pytest.raises(InputError, match="is not a whole number"):
        support.run(ingest, config({"name": reader, "path": str(tmp_path)}), {}, tmp_path)


@pytest.mark.parametrize("more", ["trash", "[]", "{}", ","])
@pytest.mark.parametrize("reader", ["dpr", "flagembedding"])
def test_nothing_may_follow_a_json_array(tmp_path, reader, more):
    """Two files put together would else lose the second one without a word."""
    row = {
        "dpr": '{"question": "q", "positive_ctxs": [{"title": "", "text": "t"}], "negative_ctxs": [], "hard_negative_ctxs": []}',
        "flagembedding": '{"query": "q", "pos": ["p"], "neg": ["n"]}',
    }[reader]
    path = tmp_path / "d.json"
    path.write_text(f"[{row}]\n \n")
    support.run(ingest, config({"name": reader, "path": str(path)}), {}, tmp_path)
    path.write_text(f"[{row}]\n{more}")
    with pytest.raises(InputError, match="the array ends, and") as caught:
        support.run(ingest, config({"name": reader, "path": str(path)}), {}, tmp_path)
    assert str(path) in str(caught.value)
