"""A target in pieces is the target in one: whatever the cut, whoever writes the pieces, and in which order."""

from __future__ import annotations

import random
from itertools import pairwise

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import export
from stages.errors import InputError, YieldError
from stages.export import ExportConfig
from stages.exporters import _lines
from stages.exporters._pieces import Files, OneFile, Pieced, Portion
from stages.registry import build
from stages.schemas import TABLES
from tests.export_world import TEXT_EXPORTERS, contents, corpus, queries, triplets, world
from tests.roundtrip.test_every_exporter import texts_of
from tests.support import TestContext, run, source

ROWS = [
    (q, q % 7, 8 + (q * 5 + n) % 22) for q in range(6) for n in range((3, 7, 1, 6, 5, 8)[q])
]  # queries of as many triplets as n-tuples need, and of fewer
WHOLE = ["contrastors", "hf_dataset", "msmarco_hard_negatives", "mteb_beir"]
"""Targets of texts that are one shard each, as docs/exports.md says."""


def made(folder, name, size, inputs=None):
    config = ExportConfig(targets=(build("exporters", name, {}),), shard_triplets=size)
    return run(export, config, inputs or world(ROWS), folder)


def rows_of(folder):
    files = sorted((folder / "data").glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()], len(files)


@pytest.mark.parametrize("name", TEXT_EXPORTERS)
def test_any_cut_gives_what_one_piece_gives(tmp_path, name):
    one = made(tmp_path / "one", name, 1_000)
    assert (name in WHOLE) == (not isinstance(build("exporters", name, {}), Pieced))
    for size in (1, 2, 3, 7, 11):
        cut = made(tmp_path / str(size), name, size)
        flat, found = (contents(result.files[f"exports/{name}"]) for result in (one, cut))
        assert cut.counters == one.counters
        assert [text for text in cut.messages if name in text] == [text for text in one.messages if name in text]
        rows = [shard for shard in cut.shards if ".others" not in shard]
        assert len(rows) == (1 if name in WHOLE else -(-len(ROWS) // size))
        if isinstance(build("exporters", name, {}), Files):
            (wanted, _), (got, files) = (rows_of(result.files[f"exports/{name}"]) for result in (one, cut))
            assert got == wanted
            assert files == len({file for file in found if file.startswith("data/")}) <= len(rows)
            assert size > 3 or files > 1
            flat, found = (
                {k: v for k, v in some.items() if not k.startswith("data/") and k != "export.json"}
                for some in (flat, found)
            )
        assert found == flat


@pytest.mark.parametrize("name", ["flagembedding", "st_triplet", "dpr", "colbert", "splade_tsv", "tevatron"])
def test_the_order_in_which_pieces_are_written_changes_no_byte(tmp_path, name):
    config = ExportConfig(targets=(build("exporters", name, {}),), shard_triplets=4)
    wanted = run(export, config, world(ROWS), tmp_path / "in order")
    inputs = {**world(ROWS), "pictures": source(TABLES["pictures"].empty_table())}
    shards = list(export.shards(config, inputs))
    random.Random(3).shuffle(shards)
    pieces = tmp_path / "pieces"
    pieces.mkdir()
    for shard in shards:  # each as by a worker of its own
        for part in export.run(config, inputs, TestContext(shards=(shard,), scratch=tmp_path / "scratch")):
            for place, write in part.pieces.items():
                write(pieces / place)
    for part in export.finish(config, inputs, TestContext(shards=()), pieces):
        for place, write in part.files.items():
            (tmp_path / place).parent.mkdir(exist_ok=True)
            write(tmp_path / place)
    assert contents(tmp_path / "exports" / name) == contents(wanted.files[f"exports/{name}"])


@given(st.lists(st.integers(1, 9), max_size=12), st.integers(1, 12), st.integers(1, 5))
def test_portions_are_whole_queries_once_and_in_order(groups, size, part):
    rows = [(query, 0, n + 1) for query, count in enumerate(groups) for n in range(count)]
    table = triplets(rows) if rows else triplets([(0, 0, 1)]).slice(0, 0)
    whole = source(*(table.slice(i, part) for i in range(0, max(len(rows), 1), part)))
    portions = [Portion(whole, start, start + size) for start in range(0, max(len(rows), 1), size)]
    found = [portion.read(["query_row", "negative_row"]).to_pylist() for portion in portions]
    assert [row for some in found for row in some] == whole.read(["query_row", "negative_row"]).to_pylist()
    assert [portion.rows for portion in portions] == [len(some) for some in found]
    asked = [{row["query_row"] for row in some} for some in found if some]
    assert all(max(one) < min(other) for one, other in pairwise(asked))
    for portion, some in zip(portions, found, strict=True):
        for start in range(len(some) + 1):
            rest = [
                row for batch in portion.batches(["query_row", "negative_row"], 2, start) for row in batch.to_pylist()
            ]
            assert rest == some[start:]


@pytest.mark.parametrize(
    ("dated", "refused"),
    [(range(0), False), (range(3, 5), False), (range(4, 7), False), (range(3, 6), True), (range(12), True)],
)
def test_a_loader_that_guesses_types_is_followed_across_pieces(tmp_path, monkeypatch, dated, refused):
    """Its chunks, of three lines here, end where bytes do and know of no pieces: what is refused is the same for any cut."""
    monkeypatch.setattr(_lines.Types, "CHUNK", 150)
    asked = [f"2024-01-{1 + i:02d}" if i in dated else f"query {i}" for i in range(12)]
    inputs = {**world([(i, 0, n) for i in range(12) for n in (1, 2)]), "queries": source(queries(asked))}
    inputs["corpus"] = source(corpus([f"text {i}" for i in range(30)]))
    said = set()
    for size in (1_000, 1, 3, 8):
        try:
            made(tmp_path / str(size), "flagembedding", size, inputs)
            said.add("")
        except InputError as error:
            said.add(str(error))
    assert len(said) == 1
    assert (said != {""}) == refused


def test_nothing_to_export_is_said_for_every_kind_of_target(tmp_path):
    empty = {**world(ROWS), "triplets": source(triplets(ROWS).slice(0, 0))}
    for name in TEXT_EXPORTERS:
        with pytest.raises(YieldError, match="no triplets to export"):
            made(tmp_path / name, name, 4, empty)


def test_one_file_formats_are_joined_from_bodies_without_a_frame(tmp_path):
    members = [member for name in TEXT_EXPORTERS if isinstance(member := build("exporters", name, {}), OneFile)]
    assert len(members) == 11
    inputs = world(ROWS)
    for member in members:
        member.piece(Portion(inputs["triplets"], 0, 3), texts_of(inputs), tmp_path / member.name)
        body = (tmp_path / member.name / member.framed.name).read_bytes()
        assert body
        assert not body.endswith(b"\n")
        assert not member.framed.head or not body.startswith(member.framed.head)
