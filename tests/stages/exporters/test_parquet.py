from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from stages.exporters import _parquet
from stages.exporters._parquet import RowGroups, id_rows


def test_row_groups_are_bounded_in_rows_and_bytes(tmp_path, monkeypatch) -> None:
    schema = pa.schema([("x", pa.string())])

    def groups(texts: list[str], step: int) -> list[int]:
        with RowGroups(tmp_path / "x.parquet", schema) as file:
            for i in range(0, len(texts), step):
                file.write(pa.table([texts[i : i + step]], schema=schema))
        read = pq.ParquetFile(tmp_path / "x.parquet")
        assert read.read().column("x").to_pylist() == texts
        return [read.metadata.row_group(i).num_rows for i in range(read.num_row_groups)]

    assert groups(["a"] * 25_000, 7_000) == [10_000, 10_000, 5_000]
    assert groups([], 1) == []
    monkeypatch.setattr(_parquet, "ROW_GROUP_BYTES", 1_000)
    assert groups(["a" * 400] * 10, 1) == [3, 3, 3, 1]


def test_files_have_page_checksums_indexes_and_zstd(tmp_path) -> None:
    with RowGroups(tmp_path / "x.parquet", pa.schema([("x", pa.string())])) as file:
        file.write(pa.table({"x": ["a"]}))
    column = pq.ParquetFile(tmp_path / "x.parquet").metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"
    assert column.has_column_index
    assert column.has_offset_index


def test_ids_have_no_dictionaries_and_texts_have(tmp_path) -> None:
    table = pa.table({"x": ["a", "b"] * 50})
    with id_rows(tmp_path, table.schema) as ids, RowGroups(tmp_path / "x.parquet", table.schema) as texts:
        ids.write(table)
        texts.write(table)
    found = {name: pq.ParquetFile(tmp_path / name) for name in ("ids.parquet", "x.parquet")}
    assert all(file.read().equals(table) for file in found.values())
    encodings = {name: file.metadata.row_group(0).column(0).encodings for name, file in found.items()}
    assert ["RLE_DICTIONARY" in encodings[name] for name in found] == [False, True]
