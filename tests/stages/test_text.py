"""What is encoded of a document, and that a table says it by itself."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages import ingest
from stages.errors import ConfigError
from stages.schemas import CORPUS
from stages.text import TITLE_FIRST, join_title, joined, template_of, text_hash, with_template
from tests.export_world import corpus
from tests.stages.data import FIXTURES, config, read


@pytest.mark.parametrize(
    ("template", "title", "text", "whole"),
    [
        (TITLE_FIRST, "Fever", "of three days", "Fever of three days"),
        (TITLE_FIRST, None, "of three days", "of three days"),
        (TITLE_FIRST, " \t", "of three days", "of three days"),
        ("{title}\n{text}", "Fever", "of three days", "Fever\nof three days"),
        ("{text} ({title})", "Fever", "of three days", "of three days (Fever)"),
        ("Title: {title}. {text}", "Fever", "x", "Title: Fever. x"),
        ("Title: {title}. {text}", "", "x", "x"),
        ("{text}", "Fever", "of three days", "of three days"),
        ("{text}", "Fever", " ", "Fever"),
        ("{{{title}}} {text}", "{text}", "{title} {0}", "{{text}} {title} {0}"),
    ],
)
def test_title_and_text_become_one_as_the_template_says(template, title, text, whole):
    assert join_title(title, text, template) == whole


def test_a_table_carries_its_template_through_everything_that_is_done_with_its_columns(tmp_path):
    rows = corpus(["a", "b", "c"], ["One", None, "Three"])
    rows = rows.cast(with_template(rows.schema, "{title}: {text}"))
    pq.write_table(rows, tmp_path / "corpus.parquet")
    read_back = pq.ParquetFile(tmp_path / "corpus.parquet")
    batch = next(read_back.iter_batches(2, columns=["title", "text"]))
    assert joined(batch) == joined(batch.take(pa.array([0, 1]))) == ["One: a", "b"]
    assert joined(read_back.read(columns=["text", "title"]).filter(pa.array([False, True, True]))) == ["b", "Three: c"]
    assert template_of(read_back.schema_arrow) == "{title}: {text}"
    assert rows.schema.field("title").metadata[b"says"] == CORPUS.field("title").metadata[b"says"]


@pytest.mark.parametrize("template", ["{title} {text}", "{title}\n{text}", "{text}", "{title} | {text}"])
def test_ingest_hashes_what_is_encoded_and_says_how_it_is_joined(tmp_path: Path, template: str) -> None:
    result = read(FIXTURES / "kitchen", tmp_path, title_join=template)
    rows = result.rows("corpus")
    assert sum(bool(row["title"]) for row in rows) > 1
    wholes = joined(result["corpus"])
    assert wholes == [join_title(row["title"], row["text"], template) for row in rows]
    assert [row["text_hash"] for row in rows] == [text_hash(whole) for whole in wholes]
    assert (result["corpus"].schema.equals(CORPUS, check_metadata=True)) == (template == TITLE_FIRST)


@pytest.mark.parametrize(
    "template",
    ["", "{title}", "{text} {text}", "{title} {titel} {text}", "{title!r} {text}", "{text:>5}", "{text} {", "{} {text}",
     "{title.x} {text}", "{text}\0", "{title} {title} {text}"],
)  # fmt: skip
def test_another_template_is_refused(template):
    with pytest.raises(ConfigError, match="title_join"):
        config({"name": "beir", "path": "nowhere"}, title_join=template)


def test_the_template_is_a_part_of_what_identifies_the_corpus():
    one, other = (config({"name": "beir", "path": "x"}, title_join=t) for t in (TITLE_FIRST, "{title}\n{text}"))
    assert isinstance(one, ingest.IngestConfig)
    assert one.semantic() != other.semantic()
