"""Exports read back by the loaders they are for, and trained on for a step."""

from __future__ import annotations

import importlib.util
import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.errors import InputError
from stages.exporters import flagembedding, st_ntuple, st_triplet
from stages.exporters._common import Texts
from stages.exporters.flagembedding import Flagembedding
from stages.exporters.st_ntuple import StNtuple
from stages.exporters.st_triplet import StTriplet
from tests.export_world import corpus, ids, queries, triplets, world
from tests.support import few, source

ROWS = [(q, 6 * q, 6 * q + n) for q in range(4) for n in range(1, 6)]
TRICKY = [
    "plain",
    "caf\u00e9 \U0001f600 \u05e9\u05dc\u05d5\u05dd",
    "a\r\nb\u2028c\u2029d\x85e\x0b\x0c\x1c",
    '"quoted" \\ {"json": [1, null]}',
    "\ufeffbom \ufdd0 \U0010ffff",
    "NA",
    "0001",
    "1e5",
    "null",
]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    datasets.disable_progress_bars()


def exported(member: Any, inputs: dict[str, Any], folder: Path) -> Path:
    member.write(inputs["triplets"], Texts.read(inputs["queries"], inputs["corpus"]), folder)
    return folder


def loaded(folder: Path, cache: Path) -> Any:
    import datasets

    files = str(folder / "data/*.parquet")
    return datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(cache))


def tricky() -> dict[str, Any]:
    n = len(TRICKY)
    return {
        "corpus": source(corpus([f"{text} | {i}" for i, text in enumerate(TRICKY)], [*TRICKY[1:], None])),
        "queries": source(queries(TRICKY)),
        "triplets": source(triplets([(i, i, (i + j) % n) for i in range(n) for j in (1, 2)])),
    }


def document(row: int) -> str:
    text = f"{TRICKY[row]} | {row}"
    return f"{TRICKY[row + 1]} {text}" if row + 1 < len(TRICKY) else text


def test_the_packages_are_those_that_the_formats_were_checked_with():
    checked = {**st_triplet.CHECKED, **st_ntuple.CHECKED}
    assert {name: version(name) for name in checked} == checked
    pytest.importorskip("FlagEmbedding")
    assert {name: version(name) for name in flagembedding.CHECKED} == flagembedding.CHECKED


@pytest.mark.parametrize(
    "member", [StTriplet(rows_per_file=7), StNtuple(negatives=2, rows_per_file=4)], ids=lambda m: m.name
)
def test_load_dataset_gives_back_every_text(tmp_path, member):
    folder = exported(member, tricky(), tmp_path / "target")
    found = loaded(folder, tmp_path / "cache")
    negatives = [c for c in found.column_names if c.startswith("negative")]
    assert found.column_names == ["anchor", "positive", *negatives]
    for row, names in zip(found, ids(folder), strict=True):
        rows = names["negative_rows"] if "negative_rows" in names else [names["negative_row"]]
        assert row["anchor"] == TRICKY[names["query_row"]]
        assert row["positive"] == document(names["positive_row"])
        assert [row[c] for c in negatives] == [document(i) for i in rows]


@pytest.mark.parametrize("member", [StTriplet(), StNtuple(negatives=2)], ids=lambda m: m.name)
def test_the_folder_alone_loads_as_a_data_set_of_its_texts(tmp_path, member):
    import datasets

    folder = exported(member, tricky(), tmp_path / "target")
    found = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert list(found) == ["train"]
    assert found["train"].to_list() == loaded(folder, tmp_path / "cache").to_list()


@pytest.mark.parametrize("member", [StTriplet(), StNtuple()], ids=lambda m: m.name)
def test_one_step_of_the_sentence_transformers_trainer(tmp_path, member):
    import torch
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    rows = loaded(exported(member, world(ROWS), tmp_path / "target"), tmp_path / "cache")
    package = importlib.util.find_spec("cognition")
    assert package is not None
    assert package.submodule_search_locations
    model = SentenceTransformer(str(Path(package.submodule_search_locations[0]) / "model"), device="cpu")
    before = [parameter.detach().clone() for parameter in model.parameters()]
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "out"),
        max_steps=1,
        per_device_train_batch_size=4,
        learning_rate=1e-3,
        report_to="none",
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = SentenceTransformerTrainer(
        model=model, args=arguments, train_dataset=rows, loss=MultipleNegativesRankingLoss(model)
    )
    result = trainer.train()
    assert torch.isfinite(torch.tensor(result.training_loss))
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    batch = next(iter(trainer.get_train_dataloader()))
    for column in rows.column_names:  # each column is one input, and there is no other
        texts = model.tokenizer.batch_decode(batch.pop(f"{column}_input_ids"), skip_special_tokens=True)
        assert len(texts) == 4
        assert all(text.startswith(f"text of {'query' if column == 'anchor' else 'document'}") for text in texts)
    assert not [name for name in batch if name.endswith("_input_ids")]
    assert batch.get("label") is None


def arguments(train: Path, cache: Path, **more: Any) -> Any:
    from FlagEmbedding.abc.finetune.embedder import AbsEmbedderDataArguments

    return AbsEmbedderDataArguments(train_data=[str(train)], cache_path=str(cache), **more)


def test_flagembedding_loads_and_collates_the_file_and_the_folder(tmp_path):
    pytest.importorskip("FlagEmbedding")
    from FlagEmbedding.abc.finetune.embedder import AbsEmbedderCollator, AbsEmbedderTrainDataset
    from transformers import AutoTokenizer

    package = importlib.util.find_spec("cognition")
    assert package is not None
    assert package.submodule_search_locations
    tokenizer = AutoTokenizer.from_pretrained(str(Path(package.submodule_search_locations[0]) / "model"))
    folder = exported(Flagembedding(), world(ROWS), tmp_path / "target")
    for place in (folder / "data/train.jsonl", folder / "data"):
        found = AbsEmbedderTrainDataset(arguments(place, tmp_path / "cache", train_group_size=4), tokenizer)
        assert len(found) == 4
        for q in range(4):
            query, passages, scores = found[q]
            assert query == f"text of query {q}"
            assert passages[0] == f"text of document {6 * q}"
            assert set(passages[1:]) < {f"text of document {6 * q + n}" for n in range(1, 6)}
            assert len(set(passages)) == 4
            assert scores is None
        batch = AbsEmbedderCollator(tokenizer)([found[q] for q in range(4)])
        assert len(batch["queries"]["input_ids"]) == 4
        assert len(batch["passages"]["input_ids"]) == 16
        decoded = tokenizer.batch_decode(batch["queries"]["input_ids"], skip_special_tokens=True)
        assert decoded == [f"text of query {q}" for q in range(4)]


def test_flagembedding_batches_of_one_data_set_with_scores_and_prompts(tmp_path):
    pytest.importorskip("FlagEmbedding")
    from FlagEmbedding.abc.finetune.embedder import AbsEmbedderSameDatasetTrainDataset, AbsEmbedderTrainDataset

    inputs = {
        **world(ROWS),
        "queries": source(queries([f"text of query {q}" for q in range(4)], ["A: ", None, "B: ", None])),
    }
    folder = exported(Flagembedding(scores=True, prompts=True), inputs, tmp_path / "target")
    asked = arguments(
        folder / "data",
        tmp_path / "cache",
        train_group_size=6,
        knowledge_distillation=True,
        query_instruction_for_retrieval="unused: ",
    )
    found = AbsEmbedderTrainDataset(asked, None)
    prompts = ["A: ", "", "B: ", ""]
    for q in range(4):
        query, passages, scores = found[q]
        assert query == f"{prompts[q]}text of query {q}"
        by_document = {f"text of document {6 * q + n}": 0.5 - (6 * q + n) / 100 for n in range(1, 6)}
        assert scores == [1 - 6 * q / 100, *(by_document[passage] for passage in passages[1:])]
    same = AbsEmbedderSameDatasetTrainDataset(asked, default_batch_size=2, seed=1, tokenizer=None)
    asked_queries, passages, _, _ = same[0]
    assert len(asked_queries) == 2
    assert len(passages) == 12


def test_flagembedding_gives_back_every_text(tmp_path):
    pytest.importorskip("FlagEmbedding")
    from FlagEmbedding.abc.finetune.embedder import AbsEmbedderTrainDataset

    folder = exported(Flagembedding(), tricky(), tmp_path / "target")
    found = AbsEmbedderTrainDataset(arguments(folder / "data", tmp_path / "cache"), None).dataset
    for row, names in zip(found, ids(folder), strict=True):
        assert row == {
            "query": TRICKY[names["query_row"]],
            "pos": [document(i) for i in names["positive_rows"]],
            "neg": [document(i) for i in names["negative_rows"]],
        }


def test_the_loader_does_turn_dates_into_timestamps(tmp_path):
    """Why the exporter refuses them: when this fails, it need not any more."""
    import datasets

    line = {"query": "2020-01-01", "pos": ["2020-01-02 10:00:00"], "neg": ["other"]}
    (tmp_path / "x.jsonl").write_text(json.dumps(line), "utf-8")
    found = datasets.load_dataset(
        "json", data_files=str(tmp_path / "x.jsonl"), split="train", cache_dir=str(tmp_path / "c")
    )
    assert not isinstance(found[0]["query"], str)
    assert not isinstance(found[0]["pos"][0], str)
    assert found[0]["neg"] == ["other"]


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["2020-01-01", "2020-01-01T10:00:00Z", "1", "null", "", " "]
)


@settings(
    max_examples=few(60),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(given_texts=st.tuples(text, st.none() | text, text, text))
@pytest.mark.parametrize("member", [StTriplet(), StNtuple(negatives=1), Flagembedding()], ids=lambda m: m.name)
def test_any_text_comes_back_equal_or_is_refused(tmp_path_factory, member, given_texts):
    """`load_dataset` is what the sentence-transformers trainer and FlagEmbedding's data set read with."""
    import datasets

    query, title, positive, negative = given_texts
    folder = tmp_path_factory.mktemp("text")
    inputs = {
        "corpus": source(corpus([positive, negative], [title, None])),
        "queries": source(queries([query])),
        "triplets": source(triplets([(0, 0, 1)])),
    }
    joined = f"{title} {positive}" if title and title.strip() else positive
    texts = [query, joined, negative]
    unusable = any(not one.strip() or "\0" in one for one in texts)
    dated = member.name == "flagembedding" and any(re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", one) for one in texts)
    try:
        exported(member, inputs, folder / "target")
        refused = ""
    except InputError as error:
        refused = str(error)
    if refused:
        assert unusable or (dated and "timestamps" in refused)
        return
    assert not unusable
    kind, files = (
        ("json", "target/data/*.jsonl") if member.name == "flagembedding" else ("parquet", "target/data/*.parquet")
    )
    found = datasets.load_dataset(kind, data_files=str(folder / files), split="train", cache_dir=str(folder / "cache"))
    assert len(found) == 1
    assert [value[0] if isinstance(value, list) else value for value in found[0].values()] == texts
