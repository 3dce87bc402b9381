"""The stage with each of its options: what it does, and that a killed run goes on to the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import nn

from stages import train
from stages.errors import ConfigError, ResourceError
from stages.losses.infonce import Infonce
from stages.objectives import Batch, Outcome, Wants
from stages.training import loop
from tests import support
from tests.stages.test_train import Encoder, Killed, contents, inputs, kill_at, phrases, small


@dataclass(frozen=True)
class LearnedTemperature:
    """InfoNCE with a scale that is learned."""

    wants = Wants()

    def module(self) -> nn.Module:
        return _Learned()


class _Learned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(3.0))
        self.inner = Infonce().module()

    def forward(self, batch: Batch) -> Outcome:
        logits = batch.queries @ batch.documents.T * self.scale / 100
        found = self.inner(batch)
        return Outcome(found.loss + nn.functional.cross_entropy(logits, batch.positives), found.masked)


def world(rows: int = 20, dev: int = 10, deep: int = 4) -> dict[str, Any]:
    """Real pairs with up to `deep` negatives each, groups by the first letter, and a split dev."""
    some = phrases()[::7][: rows + dev]
    documents = list(dict.fromkeys(text for _, own, sibling in some for text in (own, sibling)))
    place = {text: i for i, text in enumerate(documents)}
    positives = [(i, place[own]) for i, (_, own, _) in enumerate(some)]
    negatives = [
        (i, place[own], n)
        for i, (_, own, sibling) in enumerate(some[:rows])
        for n in dict.fromkeys(
            [place[sibling], *((place[own] + step) % len(documents) for step in range(3, 3 + deep - 1))]
        )
        if n != place[own]
    ]
    made = inputs(
        [term for term, _, _ in some], documents, positives, negatives, split=["train"] * rows + ["dev"] * dev
    )
    corpus = made["corpus"].read()
    at = corpus.schema.get_field_index("group")
    letters = [text[0] if i % 5 else None for i, text in enumerate(documents)]
    corpus = corpus.set_column(at, corpus.schema.field(at), [pa.array(letters, pa.large_string())])
    return {**made, "corpus": support.source(corpus)}


@dataclass(frozen=True)
class Steep:
    """InfoNCE beside a parameter with a gradient of its own."""

    steepness: float
    wants = Wants()

    def module(self) -> nn.Module:
        return _Steep(self.steepness)


class _Steep(nn.Module):
    def __init__(self, steepness: float) -> None:
        super().__init__()
        self.offset, self.steepness = nn.Parameter(torch.tensor(0.25)), steepness
        self.inner = Infonce().module()

    def forward(self, batch: Batch) -> Outcome:
        found = self.inner(batch)
        return Outcome(found.loss + self.steepness * self.offset.square(), found.masked)


OPTIONS: dict[str, dict[str, Any]] = {
    "rotation": {"negatives": 1, "negatives_pool": 3, "epochs": 3},
    "accumulation": {"accumulate": 2, "batch_size": 4, "epochs": 3},
    "gradient caching": {"cached": True, "pass_rows": 3},
    "unique": {"batches": {"name": "unique"}},
    "by_source": {"batches": {"name": "by_source"}, "max_steps": 6},
    "hard": {"batches": {"name": "hard"}},
    "lora": {"lora": {"rank": 4, "dropout": 0.1}},
    "learned temperature": {"loss": LearnedTemperature()},
    "early stopping": {"early_stopping": {"evaluate_steps": 1, "patience": 99}, "learning_rate": 0.1},
    "all at once": {
        "accumulate": 2, "batch_size": 4, "cached": True, "pass_rows": 3, "negatives_pool": 3, "epochs": 3,
        "batches": {"name": "unique"}, "lora": {"rank": 4}, "loss": LearnedTemperature(),
        "early_stopping": {"evaluate_steps": 2, "patience": 99}, "precision": "bf16",
    },
}  # fmt: skip


def adapted(encoder: Encoder, option: str) -> train.TrainConfig:
    fields = OPTIONS[option]
    return small(encoder, **fields)


IN_SHORT = ("rotation", "early stopping", "all at once")  # which between them have most of the others


@pytest.mark.parametrize(
    "option", [pytest.param(o, marks=[] if o in IN_SHORT else [pytest.mark.long]) for o in OPTIONS]
)
def test_a_killed_run_goes_on_to_the_same_bytes(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
):
    config, sources = adapted(encoder, option), world()
    whole = support.run(train, config, sources, tmp_path / "whole")
    for die in (4, 6):
        folder = tmp_path / f"killed {die}"
        with monkeypatch.context() as patch:
            kill_at(die * config.accumulate, patch)
            with pytest.raises(Killed):
                support.run(train, config, sources, folder)
        result = support.run(train, config, sources, folder)
        assert any("goes on after step" in message for message in result.messages)
        assert contents(result.files["checkpoint"]) == contents(whole.files["checkpoint"])
        assert result["training_log"].equals(whole["training_log"])
        assert result["dev_curve"].equals(whole["dev_curve"])
        assert (result.facts, result.counters) == (whole.facts, whole.counters)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The batches that the loss sees."""
    seen: list[dict[str, Any]] = []
    call = loop.Collator.__call__

    def records(self: Any, numbers: Any) -> dict[str, Any]:
        examples, picked = self.plan.batch(*numbers)
        made = call(self, numbers)
        negatives = examples.negatives_of(picked).tolist()
        seen.append({"picked": picked.tolist(), "negatives": negatives, "owners": made["owners"].tolist()})
        return made

    monkeypatch.setattr(loop.Collator, "__call__", records)
    return seen


def test_negatives_take_turns_over_the_epochs(encoder: Encoder, tmp_path: Path, taken: list[dict[str, Any]]):
    sources = world()
    support.run(train, small(encoder, negatives=1, negatives_pool=3, epochs=3), sources, tmp_path)
    mined: dict[int, list[int]] = {}
    for row in sources["triplets"].read().to_pylist():
        mined.setdefault(row["query_row"], []).append(row["negative_row"])
    found: dict[int, list[int]] = {}
    for batch in taken:
        for example, negative in zip(batch["picked"], batch["negatives"], strict=True):
            found.setdefault(example, []).append(negative)
    assert len(found) == 20
    for example, turns in found.items():
        assert sorted(turns) == sorted(mined[example][:3])


def test_a_pool_smaller_than_its_share_is_refused(encoder: Encoder):
    for fields in ({"negatives": 3, "negatives_pool": 2}, {"negatives": None, "negatives_pool": 2}):
        with pytest.raises(ValueError, match="negatives_pool must be at least negatives"):
            small(encoder, **fields)


def test_accumulated_steps_are_the_mean_of_their_batches(encoder: Encoder, tmp_path: Path):
    """Without dropout and with one optimizer step, two batches of the same pairs are as one."""
    sources = world(rows=8)
    logs = []
    for fields in ({"batch_size": 8}, {"batch_size": 8, "accumulate": 2}):
        config = small(encoder, max_steps=1, logging_steps=1, learning_rate=1e-3, epochs=2, **fields)
        result = support.run(train, config, sources, tmp_path / str(len(logs)))
        logs.append(result.rows("training_log")[-1])
        assert result.facts["steps"] == 1
        assert result.counters["texts"] == 8 * 3 * config.accumulate
    assert [log["epoch"] for log in logs] == [1.0, 2.0]
    assert logs[0]["loss"] == pytest.approx(logs[1]["loss"], rel=0.2)
    assert logs[0]["masked"] == logs[1]["masked"]


def test_a_step_of_more_batches_than_there_are_is_refused(encoder: Encoder, tmp_path: Path):
    config = small(encoder, batch_size=8, epochs=2, accumulate=3)
    with pytest.raises(ConfigError, match="more batches than the whole training") as caught:
        support.run(train, config, world(rows=8), tmp_path)
    assert caught.value.where == "train.accumulate"
    assert caught.value.got == "3, and 2 batches"


def test_more_processes_than_cores_are_refused(encoder: Encoder, tmp_path: Path):
    with pytest.raises(ResourceError, match="fewer cores") as caught:
        support.run(train, small(encoder, devices=10**9), world(rows=8), tmp_path)
    assert caught.value.where == "train.devices"


def test_batches_of_one_source_and_without_repeated_texts_reach_the_loss(
    encoder: Encoder, tmp_path: Path, taken: list[dict[str, Any]]
):
    sources = world()
    positives = sources["qrels"].read()["doc_row"].to_numpy()
    group = sources["corpus"].read()["group"].to_pylist()
    support.run(train, small(encoder, batches={"name": "by_source"}, epochs=1), sources, tmp_path / "by_source")
    assert all(len({group[positives[example]] for example in batch["picked"]}) == 1 for batch in taken)
    assert sorted(example for batch in taken for example in batch["picked"]) == list(range(20))


def ndcg(model: SentenceTransformer, sources: dict[str, Any], documents: np.ndarray) -> float:
    """By the definition, for queries with one relevant document."""
    rows = [row for row in sources["qrels"].read().to_pylist() if row["split"] == "dev"]
    texts, found = (sources[name].read()["text"].to_pylist() for name in ("queries", "corpus"))
    vectors = model.encode([found[row] for row in documents])
    gains = []
    for row in rows:
        scores = vectors @ model.encode(texts[row["query_row"]])
        rank = int((scores > scores[list(documents).index(row["doc_row"])]).sum()) + 1
        gains.append(1 / np.log2(rank + 1) if rank <= 10 else 0.0)
    return float(np.mean(gains))


def test_the_best_weights_on_dev_are_those_that_are_returned(encoder: Encoder, tmp_path: Path):
    sources = world(dev=40)
    config = small(encoder, early_stopping={"evaluate_steps": 1, "patience": 99}, learning_rate=3e-3, epochs=4)
    result = support.run(train, config, sources, tmp_path)
    curve = result.rows("dev_curve")
    assert [point["step"] for point in curve] == list(range(13))
    assert [point["epoch"] for point in curve] == pytest.approx([step / 3 for step in range(13)])
    best = max(curve, key=lambda point: point["ndcg"])
    assert (result.facts["best_step"], result.facts["best_ndcg"]) == (best["step"], best["ndcg"])
    assert 0 < best["step"] < 12
    everything = np.arange(sources["corpus"].rows)
    saved = SentenceTransformer(str(result.files["checkpoint"]), device="cpu")
    assert ndcg(saved, sources, everything) == pytest.approx(best["ndcg"], abs=1e-6)
    assert ndcg(encoder.module("cpu"), sources, everything) == pytest.approx(curve[0]["ndcg"], abs=1e-6)


def test_training_ends_when_nothing_is_gained(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    curve = iter([0.5, 0.6, 0.6, 0.55, 0.9])
    monkeypatch.setattr(loop.Development, "measure", lambda self: next(curve))
    config = small(encoder, early_stopping={"evaluate_steps": 2, "patience": 2}, epochs=9, logging_steps=4)
    result = support.run(train, config, world(), tmp_path)
    assert [point["step"] for point in result.rows("dev_curve")] == [0, 2, 4, 6]
    assert [row["step"] for row in result.rows("training_log")] == [4, 6]
    assert (result.facts["steps"], result.facts["stopped"], result.facts["best_step"]) == (6, True, 2)
    assert "stopped after step 6; best on dev after step 2, nDCG@10 0.6000, 0.5000 before" in result.messages
    whole = support.run(train, small(encoder, max_steps=27, epochs=9), world(), tmp_path / "other")
    assert contents(whole.files["checkpoint"]) != contents(result.files["checkpoint"])
    monkeypatch.setattr(loop.Development, "measure", lambda self: pytest.fail("it has ended"))
    again = support.run(train, config, world(), tmp_path)
    assert contents(again.files["checkpoint"]) == contents(result.files["checkpoint"])
    assert again["dev_curve"].equals(result["dev_curve"])


def test_measuring_changes_no_step(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With the last weights the best, they are those of a run that measures nothing."""
    plain = support.run(train, small(encoder), world(), tmp_path / "plain")
    measure, values = loop.Development.measure, iter(range(99))
    monkeypatch.setattr(loop.Development, "measure", lambda self: (measure(self), float(next(values)))[1])
    measured = support.run(train, small(encoder, early_stopping={"evaluate_steps": 1}), world(), tmp_path / "measured")
    weights = [contents(run.files["checkpoint"])["model.safetensors"] for run in (plain, measured)]
    assert weights[0] == weights[1]
    assert plain.rows("dev_curve") == []


def test_a_sample_of_the_documents_has_all_that_are_relevant(encoder: Encoder, tmp_path: Path):
    sources = world(dev=10)
    stopping = {"evaluate_steps": 99, "documents": 15}
    result = support.run(train, small(encoder, early_stopping=stopping, max_steps=1), sources, tmp_path)
    assert "on dev 10 queries are searched among 10 relevant documents and 5 others" in result.messages
    assert [point["step"] for point in result.rows("dev_curve")] == [0, 1]
    every = support.run(
        train, small(encoder, early_stopping={"documents": None}, max_steps=1), sources, tmp_path / "every"
    )
    assert every.rows("dev_curve")[0]["ndcg"] <= result.rows("dev_curve")[0]["ndcg"]


def test_early_stopping_without_a_dev_split_is_refused(encoder: Encoder, tmp_path: Path):
    with pytest.raises(ConfigError, match="split dev"):
        support.run(train, small(encoder, early_stopping={}), world(dev=0), tmp_path)


def test_adapters_are_merged_into_a_plain_model(encoder: Encoder, tmp_path: Path):
    sources = world()
    config = small(encoder, lora={"rank": 4, "target_modules": ["query", "value"]}, learning_rate=1e-2)
    result = support.run(train, config, sources, tmp_path)
    before = encoder.module("cpu").state_dict()
    saved = SentenceTransformer(str(result.files["checkpoint"]), device="cpu")
    after = saved.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name in before if "pooler" not in name and not torch.equal(before[name], after[name])}
    layers = {f"0.model.encoder.layer.{i}.attention.self.{n}.weight" for i in (0, 1) for n in ("query", "value")}
    assert {name.removeprefix("0.").partition(".")[2] for name in changed} == {
        name.removeprefix("0.").partition(".")[2] for name in layers
    }
    for name in changed:
        assert np.linalg.matrix_rank((after[name] - before[name]).double().numpy(), tol=1e-5) <= 4
    assert not any("adapter" in name for name in contents(result.files["checkpoint"]))


def test_layers_that_the_model_lacks_are_named(encoder: Encoder, tmp_path: Path):
    with pytest.raises(ConfigError, match="no layers to adapt") as caught:
        support.run(train, small(encoder, lora={"target_modules": ["q_proj"]}), world(), tmp_path)
    assert caught.value.got == "q_proj"
    assert "dense, key, query, value" in str(caught.value.try_)


def test_static_embeddings_have_nothing_to_adapt(encoder: Encoder, tmp_path: Path):
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(encoder.folder) / "tokenizer.json"))

    class Static(Encoder):
        def module(self, device: str) -> SentenceTransformer:
            return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=16)], device=device)

    with pytest.raises(ConfigError, match="this model has none") as caught:
        support.run(train, small(Static("static"), lora={}), world(), tmp_path)
    assert caught.value.got == "StaticEmbedding"


def test_the_card_says_what_the_model_is_and_nothing_of_the_day(encoder: Encoder, tmp_path: Path):
    config = small(encoder, early_stopping={"evaluate_steps": 3})
    result = support.run(train, config, world(), tmp_path)
    card = (result.files["checkpoint"] / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: sentence-transformers\n")
    assert "vectors of 128 dimensions" in card
    assert "| Pairs trained on | 20 |" in card
    assert f"| nDCG@10 on dev | {result.facts['best_ndcg']:.4g} |" in card
    assert '"batch_size": 8' in card
    assert "checkpoint_steps" not in card
    assert str(tmp_path) not in card


def test_what_a_loss_learns_is_clipped_apart_from_the_model(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A steep parameter of the loss is held to norm 1, and takes nothing from the gradients of the model."""
    found: dict[float, list[dict[str, torch.Tensor]]] = {}
    for steepness in (1.0, 1e4):
        taken = found[steepness] = []

        def records(self: Any, args: Any, state: Any, control: Any, *, taken: Any = taken, **of: Any) -> None:
            model = {f"model.{name}": p for name, p in of["model"].named_parameters()}
            every = {p for group in of["optimizer"].param_groups for p in group["params"]}
            own = every - set(model.values())
            named = {**model, **{f"loss.{i}": p for i, p in enumerate(own)}}
            taken.append({name: p.grad.clone() for name, p in named.items() if p.grad is not None})

        monkeypatch.setattr(loop._Watcher, "on_pre_optimizer_step", records, raising=False)
        support.run(train, small(encoder, loss=Steep(steepness), max_steps=1), world(), tmp_path / str(steepness))
    gentle, steep = found[1.0][0], found[1e4][0]
    assert float(steep["loss.0"].abs()) == pytest.approx(1, rel=1e-3)
    assert 0 < float(gentle["loss.0"].abs()) < 1
    assert torch.cat([g.flatten() for name, g in steep.items() if name[:5] == "model"]).norm() > 0.5
    for name, gradient in gentle.items():
        assert name == "loss.0" or torch.equal(gradient, steep[name]), name


def test_a_loss_that_is_no_number_is_named_by_its_step(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    forward: Callable[..., Any] = _Learned.forward
    calls = iter(range(100))

    def breaks(self: Any, batch: Batch) -> Outcome:
        found = forward(self, batch)
        return Outcome(found.loss * float("nan"), found.masked) if next(calls) >= 5 else found

    monkeypatch.setattr(_Learned, "forward", breaks)
    config = small(encoder, loss=LearnedTemperature(), accumulate=2, batch_size=4, logging_steps=100)
    with pytest.raises(ConfigError) as caught:
        support.run(train, config, world(), tmp_path)
    assert caught.value.where == "training step 3"


def test_parts_of_the_model_learn_at_rates_of_their_own(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """AdamW's first step moves a weight by its learning rate, whatever the gradient."""
    moved: dict[str, float] = {}

    def before(self: Any, args: Any, state: Any, control: Any, **of: Any) -> None:
        self.was = {name: p.detach().clone() for name, p in of["model"].named_parameters()}

    def after(self: Any, args: Any, state: Any, control: Any, **of: Any) -> None:
        moved.update(
            {name: float((p.detach() - self.was[name]).abs().max()) for name, p in of["model"].named_parameters()}
        )

    monkeypatch.setattr(loop._Watcher, "on_pre_optimizer_step", before, raising=False)
    monkeypatch.setattr(loop._Watcher, "on_optimizer_step", after, raising=False)
    fields = {"learning_rate": 1e-3, "warmup_ratio": 0.0, "learning_rates": {"embeddings": 0.1}, "max_steps": 1}
    support.run(train, small(encoder, **fields), world(), tmp_path)
    slow = {name for name in moved if "embeddings" in name}
    assert max(moved[name] for name in slow) == pytest.approx(1e-4, rel=0.02)
    assert max(value for name, value in moved.items() if name not in slow) == pytest.approx(1e-3, rel=0.02)


@pytest.mark.parametrize(("pattern", "says"), [("no such part", "no parameter"), ("(", "no regular expression")])
def test_a_rate_of_a_part_that_is_not_there_is_refused(encoder: Encoder, tmp_path: Path, pattern: str, says: str):
    with pytest.raises(ConfigError, match=says):
        support.run(train, small(encoder, learning_rates={pattern: 0.5}), world(), tmp_path)
