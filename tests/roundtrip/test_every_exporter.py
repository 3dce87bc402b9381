"""Every exporter: what it writes is read back equal, or refused with a reason."""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.errors import ArtefactError, InputError, YieldError
from stages.exporters._common import Texts
from stages.exporters._verify import check
from stages.registry import build
from stages.text import with_template
from tests.export_world import TEXT_EXPORTERS, contents, corpus, ids, judgements, lines, queries, triplets, world
from tests.support import few, source

ROWS = [(q, 6 * q, 6 * q + n) for q in range(4) for n in range(1, 6)]
ALL = TEXT_EXPORTERS
HERE = [name for name in ALL if name != "colbert" or importlib.util.find_spec("colbert")]
OPTIONS = {
    "flagembedding_reranker": {"scores": True, "prompts": True, "task": "judge"},
    "st_labelled_pair": {"scores": True},
    "st_labelled_list": {"scores": True},
    "nemo_automodel": {"inline": True},
    "gritlm": {"instructions": True},
    "contrastors": {"scores": True, "rows_per_shard": 3},
    "splade_tsv": {"scores": True},
    "tevatron_passages": {"subset": "ours"},
    "ms_swift": {"prompts": True},
}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    datasets.disable_progress_bars()


def named(table: pa.Table, ids: list[str]) -> pa.Table:
    """The table with other ids, which are its second column."""
    return table.set_column(1, table.schema.field(1), pa.array(ids, pa.large_string()))


def texts_of(inputs: dict[str, Any]) -> Texts:
    return Texts.read(inputs["queries"], inputs["corpus"], {name: inputs[name] for name in ("qrels", "judged")})


def exported(name: str, inputs: dict[str, Any], folder: Path, **config: Any) -> Path:
    build("exporters", name, config).write(inputs["triplets"], texts_of(inputs), folder)  # type: ignore[attr-defined]
    return folder


def checked(name: str, inputs: dict[str, Any], folder: Path, **config: Any) -> str:
    exported(name, inputs, folder, **config)
    return check(build("exporters", name, config), inputs["triplets"], texts_of(inputs), folder)


@pytest.mark.parametrize(("name", "config"), [*((n, {}) for n in HERE), *OPTIONS.items()], ids=str)
def test_what_is_written_is_read_back_equal(tmp_path, capsys, name, config):
    assert " rows equal" in checked(name, world(ROWS), tmp_path / name, **config)
    assert not capsys.readouterr().out, "standard output is that of --json"


@pytest.mark.parametrize("name", HERE)
def test_titles_are_joined_as_the_corpus_says_or_stand_apart(tmp_path, name):
    """Whatever the template is, a format of one text has what was encoded, and one with a field of titles has it as it was."""
    documents = corpus([f"body {i}" for i in range(30)], [f"Title {i}" if i % 3 else None for i in range(30)])
    documents = documents.cast(with_template(documents.schema, "{text} [{title}]"))
    inputs = {**world(ROWS), "corpus": source(documents)}
    assert " rows equal" in checked(name, inputs, tmp_path / name)
    written = b"".join(part for file, part in contents(tmp_path / name).items() if not file.endswith(".parquet"))
    if any(file.startswith("data/train") and file.endswith(".parquet") for file in contents(tmp_path / name)):
        written += json.dumps(pq.read_table(tmp_path / name / "data").to_pylist()).encode()
    member = build("exporters", name, {})
    if "load" in getattr(member, "titles_apart", ()):
        assert b"Title 1" in written
        assert b"[Title" not in written
    elif name in {"st_triplet", "st_ntuple", "flagembedding", "pylate", "ms_swift", "gritlm", "splade_tsv", "colbert"}:
        assert b"body 1 [Title 1]" in written
        assert b"body 0 [" not in written


@pytest.mark.parametrize("name", ALL)
def test_any_sharding_gives_the_same_bytes(tmp_path, name):
    inputs = world(ROWS)
    whole = inputs["triplets"].read()
    cut = {**inputs, "triplets": source(*(whole.slice(i, 3) for i in range(0, len(ROWS), 3)))}
    one, two = exported(name, inputs, tmp_path / "one"), exported(name, cut, tmp_path / "two")
    assert contents(one) == contents(two)


@pytest.mark.parametrize("name", ALL)
def test_every_file_is_described_with_its_hash(tmp_path, name):
    folder = exported(name, world(ROWS), tmp_path / name)
    described = json.loads((folder / "export.json").read_text("utf-8"))
    assert set(described["files"]) == set(contents(folder)) - {"export.json"}
    assert described["checked_with"] == dict(importlib.import_module(f"stages.exporters.{name}").CHECKED)


@pytest.mark.parametrize("name", HERE)
def test_a_changed_row_is_found(tmp_path, name):
    folder = exported(name, world(ROWS), tmp_path / name)
    inputs = world(ROWS)
    others = {**inputs, "corpus": source(corpus([f"another {i}" for i in range(30)]))}
    if name == "msmarco_hard_negatives":  # ids alone
        others = {**inputs, "queries": source(named(queries(["x"] * 6), [*"uvwxyz"]))}
    with pytest.raises(ArtefactError):
        check(build("exporters", name, {}), inputs["triplets"], texts_of(others), folder)


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["2020-01-01", "1", "null", "", " ", "a\tb\r\nc", " ends ", "\u2028x\x85"]
)


@settings(
    max_examples=few(12),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(given=st.tuples(text, st.none() | text, text, text, text, text), count=st.integers(1, 3))
@pytest.mark.parametrize("name", HERE)
def test_any_text_any_id_and_any_count_come_back_equal_or_are_refused(tmp_path_factory, name, given, count):
    query, title, positive, negative, query_id, doc_id = given
    docs = corpus([positive, *(f"{negative}{i or ''}" for i in range(count))], [title, *[None] * count])
    docs = named(docs, [f"{doc_id}{i or ''}" for i in range(count + 1)])
    asked = queries([query, "another"])
    asked = named(asked, [query_id, query_id + "x"])
    rows = [(0, 0, i + 1) for i in range(count)] + [(1, 0, 1)]
    inputs = {"corpus": source(docs), "queries": source(asked), "triplets": source(triplets(rows)), **judgements(rows)}
    config = {"negatives": 1} if "negatives" in type(build("exporters", name, {})).model_fields else {}
    try:
        found = checked(name, inputs, tmp_path_factory.mktemp("x") / name, **config)
    except InputError as error:
        found = str(error)
    assert any(word in found for word in (" rows equal", "blank", "NUL", "timestamps", "TSV"))


usable = text.map(lambda one: one.replace("\0", "")).filter(str.strip)
row = st.tuples(usable, st.none() | text.map(lambda one: one.replace("\0", "")), st.integers(0, 5), st.integers(1, 2))


@settings(
    max_examples=few(2),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(rows=st.lists(row, min_size=2, max_size=12), seed=st.integers(0, 99))
@pytest.mark.parametrize("name", HERE)
def test_a_whole_data_set_of_any_texts_and_ragged_counts_comes_back_equal_or_is_refused(
    tmp_path_factory, name, rows, seed
):
    """Each query has its own number of positives and of negatives; documents are shared, and so are texts and ids that look alike."""
    docs = corpus([f"{one}" if i % 3 else f"{one}{i}" for i, (one, *_) in enumerate(rows)] + ["another", "one more"],
                  [title for _, title, *_ in rows] + [None, "T"])  # fmt: skip
    asked = named(queries([one[::-1] for one, *_ in rows]), [f"{one}{i}" for i, (one, *_) in enumerate(rows)])
    docs = named(docs, [f"{i}{one}" for i, (one, *_) in enumerate(rows)] + ["0001", "1"])
    n = docs.num_rows
    found = [
        (q, (q + p + seed) % n, (q + positives + seed + k) % n)
        for q, (_, _, negatives, positives) in enumerate(rows)
        for p in range(positives)
        for k in range(min(negatives, n - positives))
    ]
    if not found:
        return
    inputs = {
        "corpus": source(docs),
        "queries": source(asked),
        "triplets": source(triplets(found)),
        **judgements(found),
    }
    config = {"negatives": 1} if "negatives" in type(build("exporters", name, {})).model_fields else {}
    try:
        said = checked(name, inputs, tmp_path_factory.mktemp("x") / name, **config)
    except InputError as error:
        said = str(error)
    assert any(word in said for word in (" rows equal", "timestamps", "TSV"))


@pytest.mark.parametrize("name", sorted(n for n in ALL if n.startswith("st_")))
def test_nothing_but_texts_and_a_label_reaches_the_trainer(tmp_path, name):
    folder = exported(name, world(ROWS), tmp_path / name)
    columns = pq.read_table(folder / "data").column_names
    assert columns[0] in ("anchor", "query")
    assert columns[1] in ("positive", "docs")
    assert all(c.startswith("negative") or c in ("label", "labels", "score", "scores") for c in columns[2:])
    assert "negatives" not in columns


def test_labels_and_margins(tmp_path):
    inputs = world(ROWS)
    margins = pq.read_table(exported("st_margin_mse", inputs, tmp_path / "a") / "data").to_pylist()
    for row, names_ in zip(margins, ids(tmp_path / "a"), strict=True):
        assert row["label"] == pytest.approx(names_["positive_score"] - names_["negative_score"])
    many = pq.read_table(exported("st_margin_mse_ntuple", inputs, tmp_path / "b") / "data").to_pylist()
    scores = pq.read_table(exported("st_ntuple_scores", inputs, tmp_path / "c") / "data").to_pylist()
    for margin, score in zip(many, scores, strict=True):
        assert len(score["scores"]) == 6
        assert margin["label"] == pytest.approx([score["scores"][0] - s for s in score["scores"][1:]])
    pairs = pq.read_table(exported("st_labelled_pair", inputs, tmp_path / "d") / "data").to_pylist()
    assert [(r["positive"], r["label"]) for r in pairs[:3]] == [
        ("text of document 0", 1), ("text of document 1", 0), ("text of document 2", 0),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["st_ntuple_scores", "st_margin_mse", "st_margin_mse_ntuple", "pylate_kd"])
def test_scores_that_are_not_known_are_left_out_and_counted(tmp_path, name):
    inputs = {**world(ROWS), "triplets": source(triplets(ROWS[:5]), triplets(ROWS[5:], positive_score=None))}
    summary = build("exporters", name, {}).write(inputs["triplets"], texts_of(inputs), tmp_path / name)
    assert summary.rows == (5 if name == "st_margin_mse" else 1)
    assert sum(count for reason, count in summary.left_out.items() if reason.startswith("negatives_")) == 15
    none = {**inputs, "triplets": source(triplets(ROWS, positive_score=None))}
    with pytest.raises(YieldError):
        exported(name, none, tmp_path / "none")


def test_tevatron_documents_are_in_text_and_never_in_document_text(tmp_path):
    folder = exported("tevatron", world(ROWS), tmp_path / "x")
    found = [json.loads(line) for line in (folder / "corpus/corpus.jsonl").read_bytes().splitlines()]
    assert [set(row) for row in found] == [{"docid", "text"}] * 30
    assert lines(folder)[0]["negative_document_ids"] == [f"d{i}" for i in range(1, 6)]


def test_tevatron_passages_all_have_a_title(tmp_path):
    row = lines(exported("tevatron_passages", world(ROWS), tmp_path / "x"))[0]
    assert {p["title"] for p in row["positive_passages"] + row["negative_passages"]} == {""}


def test_contrastors_offsets_are_bytes_under_both_keys(tmp_path):
    inputs = {**world(ROWS), "queries": source(queries([f"caf\u00e9 \U0001f600 {i}" for i in range(6)]))}
    folder = exported("contrastors", inputs, tmp_path / "x", rows_per_shard=3, location="s3://bucket/a/b/c")
    offsets = json.loads(gzip.decompress((folder / "data/offsets.json.gz").read_bytes()))
    counts = json.loads((folder / "data/counts.json").read_text("utf-8"))
    keys = [f"{p}/shard-0000{i}.jsonl.gz" for i in (0, 1) for p in ("b/c", "a/b/c")]
    assert list(offsets) == list(counts) == keys
    assert list(counts.values()) == [3, 3, 1, 1]
    raw = gzip.decompress((folder / "data/shard-00000.jsonl.gz").read_bytes())
    asked = [json.loads(raw[start:stop])["query"] for start, stop in offsets[keys[0]].values()]
    assert asked == [f"caf\u00e9 \U0001f600 {i}" for i in range(3)]
    described = json.loads((folder / "input.yaml").read_text("utf-8"))["datasets"][0]
    assert set(described) <= {
        "name",
        "bucket",
        "objective",
        "weight",
        "kd_loss",
        "query_only",
        "query_prefix",
        "document_prefix",
    }
    row = json.loads(raw.split(b"\n")[0])
    assert described["objective"]["columns"] in row["metadata"]["objective"]["triplet"]


def test_tabs_and_line_ends_are_counted_where_there_is_no_quoting(tmp_path):
    inputs = {**world(ROWS), "queries": source(queries(["a\tb\r\nc ", *["q"] * 5]))}
    for name, times in (("splade_tsv", 5), ("colbert", 1)):
        folder = exported(name, inputs, tmp_path / name)
        escaped = json.loads((folder / "export.json").read_text("utf-8"))["escaped"]
        assert escaped == {"tabs_and_line_ends_in_texts": 3 * times, "blanks_at_the_ends_of_texts": times}


def test_colbert_ids_are_the_numbers_of_lines(tmp_path):
    folder = exported("colbert", world(ROWS), tmp_path / "x")
    passages = (folder / "collection.tsv").read_text("utf-8").split("\n")[:-1]
    assert [line.split("\t")[0] for line in passages] == [str(i) for i in range(30)]
    assert lines_of(folder / "data/triples.jsonl")[1] == [1, 6, 7, 8, 9, 10, 11]
    known = {(r["kind"], r["number"]): r["id"] for r in pq.read_table(folder / "id_map.parquet").to_pylist()}
    assert (known["document", 7], known["query", 1]) == ("d7", "q1")


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_qrels_have_a_header_and_odd_ids_are_refused(tmp_path):
    folder = exported("mteb_beir", world(ROWS), tmp_path / "x")
    assert (folder / "qrels/train.tsv").read_text("utf-8").split("\n")[:2] == [
        "query-id\tcorpus-id\tscore",
        "q0\td0\t1",
    ]
    asked = queries(["q"] * 6)
    odd = {**world(ROWS), "queries": source(named(asked, ["a\tb", *"bcdef"]))}
    with pytest.raises(InputError, match="TSV"):
        exported("mteb_beir", odd, tmp_path / "y")


@pytest.mark.parametrize("name", ["mteb_beir", "hf_dataset", "pylate_kd"])
def test_every_configuration_of_a_card_loads(tmp_path, name):
    import datasets

    folder = exported(name, world(ROWS), tmp_path / name)
    found = datasets.get_dataset_config_names(str(folder))
    assert {"corpus", "queries"} <= set(found) or set(found) == {"train", "queries", "documents"}
    for config in found:
        assert sum(datasets.load_dataset(str(folder), config, cache_dir=str(tmp_path / "c")).num_rows.values()) > 0


def test_beir_reads_the_repository(tmp_path):
    beir = pytest.importorskip("beir.datasets.data_loader")
    folder = exported("mteb_beir", world(ROWS), tmp_path / "x")
    documents, asked, qrels = beir.GenericDataLoader(str(folder)).load(split="train")
    assert qrels == {f"q{q}": {f"d{6 * q}": 1} for q in range(4)}
    assert documents["d6"]["text"] == "text of document 6"
    assert asked["q1"] == "text of query 1"


LOSSES = {
    "st_pair": "MultipleNegativesRankingLoss",
    "st_ntuple_scores": "DistillKLDivLoss",
    "st_margin_mse": "MarginMSELoss",
    "st_margin_mse_ntuple": "MarginMSELoss",
    "st_labelled_pair": "ContrastiveLoss",
}


def bert() -> str:
    package = importlib.util.find_spec("cognition")
    assert package is not None
    assert package.submodule_search_locations
    return str(Path(package.submodule_search_locations[0]) / "model")


@pytest.mark.parametrize("name", [*LOSSES, "st_labelled_list"])
def test_one_step_of_the_trainer(tmp_path, name):
    import datasets
    import sentence_transformers as stf
    from sentence_transformers import cross_encoder

    folder = exported(name, world(ROWS), tmp_path / name)
    rows = datasets.load_dataset(str(folder / "data"), split="train", cache_dir=str(tmp_path / "c"))
    common = {
        "output_dir": str(tmp_path / "out"), "max_steps": 1, "per_device_train_batch_size": 4, "report_to": "none",
        "use_cpu": True, "save_strategy": "no", "disable_tqdm": True,
    }  # fmt: skip
    if name == "st_labelled_list":
        model = stf.CrossEncoder(bert(), num_labels=1, device="cpu")
        trainer = cross_encoder.CrossEncoderTrainer(
            model=model, args=cross_encoder.CrossEncoderTrainingArguments(**common), train_dataset=rows,
            loss=cross_encoder.losses.LambdaLoss(model),
        )  # fmt: skip
    else:
        encoder = stf.SentenceTransformer(bert(), device="cpu")
        trainer = stf.SentenceTransformerTrainer(
            model=encoder, args=stf.SentenceTransformerTrainingArguments(**common), train_dataset=rows,
            loss=getattr(importlib.import_module("sentence_transformers.losses"), LOSSES[name])(encoder),
        )  # fmt: skip
    loss = trainer.train().training_loss
    assert 0 <= loss < float("inf")
