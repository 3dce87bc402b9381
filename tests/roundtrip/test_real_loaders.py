"""Exports go through the classes that train or evaluate with them: one step a loss, and the loaders of retrieval data sets."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from tests.export_world import queries, world
from tests.roundtrip.test_every_exporter import ROWS, bert, exported
from tests.support import source

DENSE, SPARSE = "sentence_transformers.losses", "sentence_transformers.sparse_encoder.losses"
CROSS, MULTI = "sentence_transformers.cross_encoder.losses", "sentence_transformers.multi_vector_encoder.losses"
STEPS = [
    ("st_pair", {}, DENSE, "CachedMultipleNegativesRankingLoss"),
    ("st_triplet", {}, DENSE, "TripletLoss"),
    ("st_ntuple", {}, DENSE, "CachedMultipleNegativesRankingLoss"),
    ("st_ntuple_scores", {}, DENSE, "MarginMSELoss"),
    ("st_labelled_pair", {}, DENSE, "OnlineContrastiveLoss"),
    ("st_labelled_pair", {"scores": True}, DENSE, "CoSENTLoss"),
    ("st_labelled_pair", {}, CROSS, "BinaryCrossEntropyLoss"),
    ("st_ntuple", {}, CROSS, "MultipleNegativesRankingLoss"),
    *(("st_labelled_list", {}, CROSS, name) for name in ("ListNetLoss", "PListMLELoss")),
    ("st_labelled_list", {"scores": True}, CROSS, "LambdaLoss"),
    ("st_triplet", {}, SPARSE, "SparseMultipleNegativesRankingLoss"),
    ("st_margin_mse", {}, SPARSE, "SparseMarginMSELoss"),
    ("st_ntuple_scores", {}, SPARSE, "SparseDistillKLDivLoss"),
    ("st_ntuple", {}, MULTI, "MultiVectorMultipleNegativesRankingLoss"),
    ("st_ntuple_scores", {}, MULTI, "MultiVectorDistillKLDivLoss"),
]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    datasets.disable_progress_bars()


def wrapped(model: Any, losses: str, name: str) -> Any:
    """The loss; one of sparse encoders with the regularizer that it may not be used without."""
    module = importlib.import_module(losses)
    loss = getattr(module, name)(model)
    return module.SpladeLoss(model, loss, document_regularizer_weight=1e-3) if losses == SPARSE else loss


def encoder(losses: str) -> Any:
    """A model of the kind that these losses train."""
    import sentence_transformers as stf
    from sentence_transformers.sparse_encoder import models

    if losses == CROSS:
        return stf.CrossEncoder(bert(), num_labels=1, device="cpu")
    if losses == MULTI:
        return stf.MultiVectorEncoder(bert(), device="cpu")
    if losses == DENSE:
        return stf.SentenceTransformer(bert(), device="cpu")
    dense = stf.SentenceTransformer(bert(), device="cpu")
    return stf.SparseEncoder(
        modules=[*dense, models.SparseAutoEncoder(128, hidden_dim=256, k=32, k_aux=64)], device="cpu"
    )


@pytest.mark.parametrize(("name", "config", "losses", "loss"), STEPS, ids=str)
def test_one_step_of_each_loss(tmp_path, name, config, losses, loss):
    import datasets
    import sentence_transformers as stf
    import torch

    folder = exported(name, world(ROWS), tmp_path / name, **config)
    rows = datasets.load_dataset(str(folder / "data"), split="train", cache_dir=str(tmp_path / "c"))
    model = encoder(losses)
    kind = {CROSS: "CrossEncoder", MULTI: "MultiVectorEncoder", DENSE: "SentenceTransformer", SPARSE: "SparseEncoder"}
    arguments = getattr(stf, f"{kind[losses]}TrainingArguments")(
        output_dir=str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=4, learning_rate=1e-3,
        report_to="none", use_cpu=True, save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    before = [parameter.detach().clone() for parameter in model.parameters()]
    trainer = getattr(stf, f"{kind[losses]}Trainer")(
        model=model, args=arguments, train_dataset=rows, loss=wrapped(model, losses, loss)
    )
    assert 0 <= trainer.train().training_loss < float("inf")
    changed = any(not torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))
    assert changed or loss == "OnlineContrastiveLoss"  # which counts hard pairs alone: a batch may have none


def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(bert())


def test_flagembedding_reranker_collates_pairs_with_their_prompts(tmp_path):
    pytest.importorskip("FlagEmbedding")
    from FlagEmbedding.abc.finetune.reranker import (
        AbsRerankerCollator,
        AbsRerankerDataArguments,
        AbsRerankerTrainDataset,
    )

    asked = source(queries([f"text of query {q}" for q in range(6)], ["find: ", *[None] * 5]))
    folder = exported(
        "flagembedding_reranker", {**world(ROWS), "queries": asked}, tmp_path / "x", scores=True, prompts=True
    )
    arguments = AbsRerankerDataArguments(
        train_data=[str(folder / "data")], cache_path=str(tmp_path / "c"), train_group_size=4, knowledge_distillation=True,
        query_instruction_for_rerank="unused: ", query_instruction_format="{}{}",
    )  # fmt: skip
    found = AbsRerankerTrainDataset(arguments, tokenizer())
    batch = AbsRerankerCollator(tokenizer())([found[q] for q in range(4)])
    pairs = tokenizer().batch_decode(batch["pair"]["input_ids"], skip_special_tokens=True)
    assert len(pairs) == 16
    assert [pairs[4 * q] for q in (1, 2, 3)] == [f"text of query {q} text of document {6 * q}" for q in (1, 2, 3)]
    assert pairs[0] == "find : text of query 0 text of document 0"
    scores = [float(score) for score in batch["teacher_scores"]]
    assert [scores[4 * q] for q in range(4)] == pytest.approx([1 - 6 * q / 100 for q in range(4)])


def test_flagembedding_collates_batches_of_one_data_set(tmp_path):
    pytest.importorskip("FlagEmbedding")
    from FlagEmbedding.abc.finetune.embedder import (
        AbsEmbedderDataArguments,
        AbsEmbedderSameDatasetCollator,
        AbsEmbedderSameDatasetTrainDataset,
    )

    folder = exported("flagembedding", world(ROWS), tmp_path / "x")
    arguments = AbsEmbedderDataArguments(
        train_data=[str(folder / "data")],
        cache_path=str(tmp_path / "c"),
        train_group_size=3,
        same_dataset_within_batch=True,
        query_instruction_for_retrieval="",  # without one it puts the word None in front of every query
    )
    found = AbsEmbedderSameDatasetTrainDataset(arguments, default_batch_size=2, seed=1, tokenizer=tokenizer())
    batch = AbsEmbedderSameDatasetCollator(tokenizer())([found[0]])
    asked = tokenizer().batch_decode(batch["queries"]["input_ids"], skip_special_tokens=True)
    documents = tokenizer().batch_decode(batch["passages"]["input_ids"], skip_special_tokens=True)
    assert len(documents) == 6
    for i, query in enumerate(asked):
        number = int(query.removeprefix("text of query "))
        assert documents[3 * i] == f"text of document {6 * number}"
        assert {int(d.removeprefix("text of document ")) // 6 for d in documents[3 * i : 3 * i + 3]} == {number}


def test_mteb_loads_the_repository_with_every_judgement(tmp_path):
    loaders = pytest.importorskip("mteb.abstasks.retrieval_dataset_loaders")
    folder = exported("mteb_beir", world(ROWS), tmp_path / "x")
    found = loaders.RetrievalDatasetLoader(hf_repo=str(folder), revision="main", split="train").load()
    assert found["relevant_docs"] == {f"q{q}": {f"d{6 * q}": 1} for q in range(4)}
    assert {row["id"]: row["text"] for row in found["queries"]} == {f"q{q}": f"text of query {q}" for q in range(4)}
    assert [(row["id"], row["text"]) for row in found["corpus"]] == [
        (f"d{i}", f"text of document {i}") for i in range(30)
    ]


def test_colbert_reads_examples_of_ids_and_of_scores(tmp_path, monkeypatch):
    pytest.importorskip("colbert.data")
    monkeypatch.chdir(tmp_path)  # it writes an experiments folder where it runs
    from colbert.data import Collection, Queries
    from colbert.data.examples import Examples

    plain = exported("colbert", world(ROWS), tmp_path / "x")
    scored = exported("colbert", world(ROWS), tmp_path / "y", scores=True)
    assert Examples(path=str(plain / "data/triples.jsonl"), nway=4).tolist()[1] == [1, 6, 7, 8, 9]
    first = Examples(path=str(scored / "data/triples.jsonl"), nway=2).tolist()[0]
    assert first == [0, [0, pytest.approx(1.0)], [1, pytest.approx(0.49)]]
    assert Collection(path=str(plain / "collection.tsv"))[7] == "text of document 7"
    assert Queries(path=str(plain / "queries.tsv"))[1] == "text of query 1"


@pytest.mark.parametrize("name", ["flagembedding", "gritlm", "ms_swift", "nemo_automodel"])
def test_plain_lines_load_as_a_folder_too(tmp_path, name):
    import datasets

    config = {"inline": True} if name == "nemo_automodel" else {}
    folder = exported(name, world(ROWS), tmp_path / name, **config)
    assert [path.suffix for path in (folder / "data").iterdir()] == [".jsonl"]
    found = datasets.load_dataset(str(folder / "data"), split="train", cache_dir=str(tmp_path / "c"))
    assert len(found) == 4
