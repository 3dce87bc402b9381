"""What `hardrock show` says of a picture."""

from pathlib import Path

import pyarrow.parquet as pq

from pipeline.catalog import Entry, build, connect
from pipeline.looking.one import find_document, find_query
from tests.support import table


def test_a_picture_is_shown_as_one_with_its_caption(tmp_path: Path) -> None:
    corpus = [
        {
            "row": i,
            "doc_id": f"d{i}",
            "title": "Title" if i == 2 else None,
            "text": text,
            "picture": picture,
            "text_hash": i,
        }
        for i, (text, picture) in enumerate((("a dog", 0), ("", 1), ("a text", None)))
    ]
    queries = [
        {
            "row": i,
            "query_id": f"q{i}",
            "text": "a dog",
            "split": "train",
            "source": "given",
            "picture": picture,
            "text_hash": i,
        }
        for i, picture in enumerate((0, None))
    ]
    entries = []
    for name, rows in (("corpus", corpus), ("queries", queries)):
        pq.write_table(table(name, rows), tmp_path / f"{name}.parquet")
        entries.append(Entry(name, None, (tmp_path / f"{name}.parquet",)))
    build(tmp_path / "catalog.duckdb", entries)
    with connect(tmp_path / "catalog.duckdb", tmp_path) as connection:
        texts = [find_document(connection, f"d{i}").text for i in range(3)]
        assert texts == ["[picture] a dog", "[picture]", "Title a text"]
        assert [find_query(connection, f"q{i}").text for i in range(2)] == ["[picture] a dog", "a dog"]
        assert find_query(connection, "a dog").query_id == "q0"
