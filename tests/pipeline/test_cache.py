"""The cache on disk: what goes in comes out, and what is damaged is not there."""

import pyarrow as pa

from pipeline.cache import DiskCache


def values(table):
    return sorted(table["x"].to_pylist())


def test_what_was_added_under_a_name_comes_back(tmp_path):
    cache = DiskCache(tmp_path / ".cache")
    assert cache.read("a/b") is None
    cache.add("a/b", pa.table({"x": [1, 2]}))
    cache.add("a/b", pa.table({"x": [3]}))
    cache.add("a/c", pa.table({"x": [9]}))
    assert values(cache.read("a/b")) == [1, 2, 3]
    assert values(DiskCache(tmp_path / ".cache").read("a/c")) == [9]


def test_the_same_table_is_stored_once(tmp_path):
    cache = DiskCache(tmp_path)
    cache.add("a", pa.table({"x": [1]}))
    cache.add("a", pa.table({"x": [1]}))
    assert values(cache.read("a")) == [1]
    assert len(list((tmp_path / "a").iterdir())) == 1


def test_a_flipped_bit_or_a_cut_file_is_as_if_it_were_not_there(tmp_path):
    cache = DiskCache(tmp_path)
    cache.add("a", pa.table({"x": [1]}))
    [first] = (tmp_path / "a").iterdir()
    cache.add("a", pa.table({"x": [2]}))
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    assert values(cache.read("a")) == [2]
    first.write_bytes(bytes(data[:10]))
    (tmp_path / "a" / "notes.txt").write_text("x")
    assert values(cache.read("a")) == [2]
    first.write_bytes(b"")
    cache.add("a", pa.table({"x": [1]}))
    assert values(cache.read("a")) == [1, 2]
