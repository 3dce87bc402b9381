from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.columns import mapped
from tests.support import source

TEXTS = st.lists(st.one_of(st.none(), st.text(max_size=5)), max_size=40)
SCHEMA = pa.schema([("text", pa.large_string()), ("picture", pa.int32())])


def columns(texts: list[str | None]) -> pa.Table:
    return pa.table([texts, [None if text is None else len(text) for text in texts]], schema=SCHEMA)


@given(TEXTS, st.integers(1, 9), st.integers(0, 3))
def test_they_are_the_columns_of_the_table_in_one_chunk(tmp_path_factory, texts, part, skip):
    """Parts are slices, whose buffers begin elsewhere and hold more."""
    table = columns(texts)
    whole = source(*(table.slice(i, part) for i in range(0, max(len(texts), 1), part))).read().slice(skip)
    cut = source(*(whole.slice(i, part) for i in range(0, max(whole.num_rows, 1), part)))
    found = mapped(cut, ["text", "picture"], tmp_path_factory.mktemp("columns") / "here")
    for name, array in found.items():
        assert isinstance(array, pa.Array)
        array.validate(full=True)
        assert array.type == SCHEMA.field(name).type
        assert array.to_pylist() == whole.column(name).to_pylist()
        assert array.null_count == whole.column(name).null_count
        rows = pa.array(range(len(array) - 1, -1, -1), pa.int64())
        assert array.take(rows).to_pylist() == whole.column(name).to_pylist()[::-1]


def test_one_of_two_processes_is_first_and_the_other_leaves_nothing(tmp_path, monkeypatch):
    table = columns(["a", None, "ä" * 100] * 500)

    class Overtaken:
        """Another process stores the same while this one is at it."""

        schema, rows = SCHEMA, table.num_rows

        def batches(self, names):
            with monkeypatch.context() as patch:
                patch.setattr("os.getpid", lambda: -1)
                mapped(source(table), names, tmp_path / "x")
            yield from source(table).batches(names)

    assert mapped(Overtaken(), ["text"], tmp_path / "x")["text"].to_pylist() == table["text"].to_pylist()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_what_broke_off_is_not_taken(tmp_path):
    table = columns(["a", None, "ä" * 100] * 500)

    class Broken:
        schema, rows = SCHEMA, 3

        def batches(self, names):
            yield from table.select(names).slice(0, 1).to_batches()
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        mapped(Broken(), ["text"], tmp_path / "y")
    assert not (tmp_path / "y").exists()
    assert mapped(source(table), ["text"], tmp_path / "y")["text"].to_pylist() == table["text"].to_pylist()
