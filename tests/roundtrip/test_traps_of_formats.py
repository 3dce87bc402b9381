"""Each way in which a trainer goes wrong without a word, or stops, and that our exports do not lead it there."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from stages.errors import InputError, YieldError
from tests.export_world import TEXT_EXPORTERS, corpus, lines, queries, triplets, world
from tests.roundtrip.test_every_exporter import ROWS, exported
from tests.support import source

LINES = (
    "flagembedding",
    "flagembedding_reranker",
    "gritlm",
    "ms_swift",
    "ms_swift_reranker",
    "tevatron",
    "tevatron_passages",
)
LISTS = {
    "flagembedding": ("pos", "neg"), "flagembedding_reranker": ("pos", "neg"), "gritlm": ("pos", "neg"),
    "tevatron": ("positive_document_ids", "negative_document_ids"),
    "tevatron_passages": ("positive_passages", "negative_passages"),
    "ms_swift": ("positive_messages", "negative_messages"), "ms_swift_reranker": ("positive_messages", "negative_messages"),
}  # fmt: skip
SCORED = {
    "flagembedding": {"scores": True}, "flagembedding_reranker": {"scores": True}, "contrastors": {"scores": True},
    "colbert": {"scores": True}, "splade_tsv": {"scores": True}, "st_labelled_pair": {"scores": True},
    "st_labelled_list": {"scores": True}, "st_ntuple_scores": {}, "st_margin_mse": {}, "st_margin_mse_ntuple": {},
    "pylate_kd": {},
}  # fmt: skip


def with_prompts() -> dict[str, Any]:
    asked = queries([f"text of query {i}" for i in range(6)], ["find: ", *[None] * 5])
    return {**world(ROWS), "queries": source(asked)}


@pytest.mark.parametrize("name", sorted(n for n in TEXT_EXPORTERS if n.startswith(("st_", "pylate", "hf_"))))
def test_no_null_no_nan_and_no_empty_text_in_a_column(tmp_path, name):
    folder = exported(name, world(ROWS), tmp_path / name)
    table = pq.read_table(folder / "data")
    assert [column.null_count for column in table.columns] == [0] * table.num_columns
    for row in table.to_pylist():
        values = [v for value in row.values() for v in (value if isinstance(value, list) else [value])]
        assert all(value != "" and (isinstance(value, str) or math.isfinite(value)) for value in values)


@pytest.mark.parametrize("name", [n for n in TEXT_EXPORTERS if n.startswith("st_") and "list" not in n])
def test_rows_are_never_ragged(tmp_path, name):
    ragged = [(0, 0, 1), (0, 0, 2), (1, 6, 7), (1, 6, 8), (1, 6, 9), (2, 12, 13)]
    config = {"negatives": 2} if "ntuple" in name else {}
    table = pq.read_table(exported(name, world(ragged), tmp_path / name, **config) / "data")
    widths = {tuple(len(v) if isinstance(v, list) else 1 for v in row.values()) for row in table.to_pylist()}
    assert len(widths) == 1
    assert not any(
        str(field.type).startswith("list") and field.name not in ("scores", "label") for field in table.schema
    )


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("prompts", [False, True])
def test_every_row_of_lines_has_the_same_fields_though_few_have_a_prompt(tmp_path, name, prompts):
    config: dict[str, Any] = {"prompts": prompts} if name not in ("gritlm", "tevatron_passages") else {}
    if name == "gritlm":
        config = {"instructions": prompts}
    found = lines(exported(name, with_prompts(), tmp_path / name, **config))
    assert len({tuple(row) for row in found}) == 1
    assert not any(value is None for row in found for value in row.values())
    if name == "gritlm":
        assert {type(row["query"]) for row in found} == {list if prompts else str}


@pytest.mark.parametrize("name", LISTS)
def test_lists_are_lists_even_of_one_and_never_empty(tmp_path, name):
    found = lines(exported(name, world([(0, 0, 1), (1, 6, 7), (1, 6, 8)]), tmp_path / name))
    assert [[len(row[column]) for column in LISTS[name]] for row in found] == [[1, 1], [1, 2]]
    assert all(isinstance(row[column], list) for row in found for column in LISTS[name])


@pytest.mark.parametrize("name", SCORED)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")], ids=str)
def test_a_score_that_is_no_number_never_comes_into_the_data(tmp_path, name, bad):
    inputs = {**world(ROWS), "triplets": source(triplets(ROWS[:5]), triplets(ROWS[5:], negative_score=bad))}
    folder = exported(name, inputs, tmp_path / name, **SCORED[name])
    described = json.loads((folder / "export.json").read_text("utf-8"))
    left = sum(count for reason, count in described["left_out"].items() if reason.startswith("negatives_"))
    assert (described["triplets"], left) == (20, 15)
    none = {**inputs, "triplets": source(triplets(ROWS, negative_score=bad))}
    if name != "st_labelled_pair":  # it keeps the positives, which have a score
        with pytest.raises(YieldError):
            exported(name, none, tmp_path / "none", **SCORED[name])


@pytest.mark.parametrize("name", ["flagembedding", "flagembedding_reranker", "gritlm", "ms_swift", "nemo_automodel"])
def test_no_zipped_file_where_the_loader_skips_it_without_a_word(tmp_path, name):
    folder = exported(name, world(ROWS), tmp_path / name)
    assert {path.suffix for path in (folder / "data").iterdir()} <= {".jsonl", ".json"}
    assert not [path for path in folder.rglob("*") if path.suffix in (".gz", ".zst")]
    assert not folder.name.endswith("no_in_batch_neg")


def test_flagembedding_files_with_and_without_prompts_are_told_apart_by_their_fields(tmp_path):
    """It joins the files of a folder: one without `prompt` beside one with it makes the text "None" of it."""
    without, given = (exported("flagembedding", with_prompts(), tmp_path / str(p), prompts=p) for p in (False, True))
    assert not any("prompt" in row for row in lines(without))
    assert [row["prompt"] for row in lines(given)] == ["find: ", "", "", ""]


def test_pylate_takes_the_first_column_for_the_query_and_skips_none(tmp_path):
    columns = pq.read_table(exported("pylate", world(ROWS), tmp_path / "x") / "data").column_names
    assert "anchor" in columns[0]
    assert not [name for name in columns if "_id" in name]


def test_pylate_distillation_has_every_document_and_rows_of_one_length(tmp_path):
    folder = exported("pylate_kd", world(ROWS), tmp_path / "x", negatives=3)
    rows = pq.read_table(folder / "data").to_pylist()
    known = set(pq.read_table(folder / "documents").column("document_id").to_pylist())
    assert {(len(row["document_ids"]), len(row["scores"])) for row in rows} == {(4, 4)}
    assert {name for row in rows for name in row["document_ids"]} <= known


def test_colbert_has_no_third_column_that_would_come_in_front_of_the_text(tmp_path):
    titled = source(corpus([f"text {i}" for i in range(30)], [f"title {i}" for i in range(30)]))
    folder = exported("colbert", {**world(ROWS), "corpus": titled}, tmp_path / "x")
    rows = [line.split("\t") for line in (folder / "collection.tsv").read_text("utf-8").split("\n")[:-1]]
    assert rows == [[str(i), f"title {i} text {i}"] for i in range(30)]
    asked = [line.split("\t")[0] for line in (folder / "queries.tsv").read_text("utf-8").split("\n")[:-1]]
    assert all(name.isdecimal() for name in asked)


def test_gritlm_has_no_text_which_would_be_read_as_generative_data(tmp_path):
    assert {tuple(row) for row in lines(exported("gritlm", world(ROWS), tmp_path / "x"))} == {("query", "pos", "neg")}


def test_nemo_has_every_positive_each_question_once_and_a_path_from_the_file(tmp_path):
    rows = [(0, 0, 1), (0, 5, 1), (1, 6, 7)]
    folder = exported("nemo_automodel", world(rows), tmp_path / "x")
    found = json.loads((folder / "data/train.json").read_text("utf-8"))
    assert (folder / "data" / found["corpus"][0]["path"]).resolve() == folder / "corpus"
    assert [row["question_id"] for row in found["data"]] == ["q0", "q1"]
    assert found["data"][0]["pos_doc"] == [{"id": "d0"}, {"id": "d5"}]
    metadata = json.loads((folder / "corpus/merlin_metadata.json").read_text("utf-8"))
    assert metadata == {"class": "TextQADataset", "corpus_id": found["data"][0]["corpus_id"]}


def test_ms_swift_has_exactly_one_positive_and_rerankers_answer_as_the_assistant(tmp_path):
    rows = [(0, 0, 1), (0, 5, 1), (1, 6, 7)]
    one = lines(exported("ms_swift", world(rows), tmp_path / "x"))
    assert [len(row["positive_messages"]) for row in one] == [1, 1, 1]
    many = lines(exported("ms_swift_reranker", world(rows), tmp_path / "y"))
    assert [len(row["positive_messages"]) for row in many] == [2, 1]
    for found, role in ((one, "user"), (many, "assistant")):
        said = [m for row in found for kind in ("positive", "negative") for c in row[f"{kind}_messages"] for m in c]
        assert {message["role"] for message in said} == {role}


@pytest.mark.parametrize(("scores", "fields"), [(False, 3), (True, 5)])
def test_splade_lines_have_as_many_fields_as_its_reader_splits(tmp_path, scores, fields):
    asked = source(queries(["a\tb\nc", *["q"] * 5]))
    folder = exported("splade_tsv", {**world(ROWS), "queries": asked}, tmp_path / "x", scores=scores)
    assert {line.count("\t") for line in (folder / "data/raw.tsv").read_text("utf-8").split("\n")[:-1]} == {fields - 1}


def test_contrastors_rows_have_as_many_negatives_as_asked_and_name_their_objective(tmp_path):
    import gzip

    ragged = [*ROWS[:5], (1, 6, 7)]
    folder = exported("contrastors", world(ragged), tmp_path / "x")
    found = [
        json.loads(line) for line in gzip.decompress((folder / "data/shard-00000.jsonl.gz").read_bytes()).splitlines()
    ]
    assert [len(row["negatives"]) for row in found] == [5]
    assert found[0]["metadata"]["objective"]["triplet"] == [["query", "document", "negatives"]]
    assert json.loads((folder / "export.json").read_text("utf-8"))["left_out"]["negatives_of_pairs_with_too_few"] == 1


def test_dpr_mined_negatives_are_hard_negatives_and_every_row_has_a_positive(tmp_path):
    found = json.loads((exported("dpr", world(ROWS), tmp_path / "x") / "data/train.json").read_text("utf-8"))
    assert [(len(r["positive_ctxs"]), len(r["negative_ctxs"]), len(r["hard_negative_ctxs"])) for r in found] == [
        (1, 0, 5)
    ] * 4


@pytest.mark.parametrize("name", TEXT_EXPORTERS)
def test_nothing_is_pickled(tmp_path, name):
    folder = exported(name, world(ROWS), tmp_path / name)
    for path in folder.rglob("*"):
        assert path.suffix not in (".pkl", ".pickle", ".pt", ".npy")
        assert path.is_dir() or path.read_bytes()[:2] not in (b"\x80\x04", b"\x80\x05")


def test_the_viewer_can_page_and_finds_no_vectors(tmp_path):
    folder = exported("hf_dataset", world(ROWS), tmp_path / "x")
    for path in folder.rglob("*.parquet"):
        found = pq.read_metadata(path)
        groups = [found.row_group(i) for i in range(found.num_row_groups)]
        assert all(group.num_rows <= 10_000 and group.total_byte_size < 286 << 20 for group in groups)
        assert all(group.column(0).has_offset_index for group in groups)
        assert not [name for name in pq.read_schema(path).names if "vector" in name or "embedding" in name]
    card = (folder / "README.md").read_text("utf-8")
    assert card.count("config_name:") == 6


@pytest.mark.parametrize("name", LINES)
def test_dates_alone_are_refused_and_never_become_timestamps(tmp_path, name):
    asked = source(queries([f"2020-01-0{i + 1}" for i in range(6)]))
    with pytest.raises(InputError, match="timestamps"):
        exported(name, {**world(ROWS), "queries": asked}, tmp_path / name)


def test_ids_stay_strings(tmp_path: Path) -> None:
    inputs = world(ROWS)
    table = inputs["queries"].read()
    import pyarrow as pa

    numbered = table.set_column(1, table.schema.field(1), pa.array([f"000{i}" for i in range(6)], pa.large_string()))
    found = lines(exported("tevatron", {**inputs, "queries": source(numbered)}, tmp_path / "x"))
    assert [row["query_id"] for row in found] == ["0000", "0001", "0002", "0003"]
