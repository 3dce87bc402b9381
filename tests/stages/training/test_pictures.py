"""Training on pictures: captions and pictures in both directions, and views of pictures, on a tiny tower from scratch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages import train
from stages.augmentations.simclr import Simclr
from stages.augmentations.words import Words
from stages.encoders.two_tower import TwoTower
from stages.errors import ConfigError
from stages.imaging import squared
from stages.losses.clip import Clip
from stages.losses.infonce import Infonce
from stages.losses.nt_xent import NtXent
from stages.objectives import Batch
from stages.train import TrainConfig
from stages.training.contrastive import Contrastive
from stages.training.parts import EarlyStopping, Projection
from stages.training.projection import Projected
from tests import models, support
from tests.pictures import blob, packed
from tests.stages.losses import naive
from tests.stages.test_train import Killed, contents, kill_at

COLOURS = {"red": (200, 30, 40), "blue": (30, 60, 200), "green": (20, 150, 50)}
PLACES = ("top left", "top right", "bottom left", "bottom right")
NAMES = [f"a {colour} square at the {place}" for colour in COLOURS for place in PLACES]
N = len(NAMES)


@pytest.fixture(scope="module")
def pictures() -> Any:
    """A square of one colour at one of four places: twelve that differ."""
    places = dict(zip(PLACES, (0, 2, 6, 8), strict=True))
    rows = [
        {"row": i, "image": packed(blob(COLOURS[colour], places[place])), "format": "PNG", "width": 24, "height": 24, "pixels": 100 + i}
        for i, (colour, place) in enumerate((c, p) for c in COLOURS for p in PLACES)
    ]  # fmt: skip
    return support.source(support.table("pictures", rows))


def captioned(pictures: Any, split: str = "train") -> dict[str, Any]:
    """Both directions: pictures, then captions, and each looks for the other, with one negative: the next one."""
    corpus = [
        {"row": i, "doc_id": f"d{i}", "text": NAMES[i % N], "picture": i if i < N else None, "text_hash": (100 if i < N else 200) + i % N}
        for i in range(2 * N)
    ]  # fmt: skip
    queries = [
        {"row": i, "query_id": f"q{i}", "text": NAMES[i % N], "picture": None if i < N else i - N, "split": split if i % 3 == 0 else "train",
         "source": "given", "text_hash": (200 if i < N else 100) + i % N}
        for i in range(2 * N)
    ]  # fmt: skip
    qrels = [
        {"query_row": q, "doc_row": q, "relevance": 1, "split": queries[q]["split"], "source": "given"}
        for q in range(2 * N)
    ]
    triplets = [
        {"query_row": q, "positive_row": q, "negative_row": (q + 1) % N + (q // N) * N, "negative_score": 0.5, "rank": 1,
         "sampler": "top", "seed": 0, "round": 0}
        for q in range(2 * N)
    ]  # fmt: skip
    return tables(pictures, corpus=corpus, queries=queries, qrels=qrels, triplets=triplets)


def alone(pictures: Any) -> dict[str, Any]:
    """Each picture is a query and its own document, with the next one as its negative."""
    corpus = [{"row": i, "doc_id": f"d{i}", "text": "", "picture": i, "text_hash": 100 + i} for i in range(N)]
    queries = [
        {"row": i, "query_id": f"q{i}", "text": "", "picture": i, "split": "train", "source": "given", "text_hash": 100 + i}
        for i in range(N)
    ]  # fmt: skip
    qrels = [{"query_row": q, "doc_row": q, "relevance": 1, "split": "train", "source": "given"} for q in range(N)]
    triplets = [
        {"query_row": q, "positive_row": q, "negative_row": (q + 1) % N, "negative_score": 0.5, "rank": 1, "sampler": "top",
         "seed": 0, "round": 0}
        for q in range(N)
    ]  # fmt: skip
    return tables(pictures, corpus=corpus, queries=queries, qrels=qrels, triplets=triplets)


def tables(pictures: Any, **rows: list[dict[str, Any]]) -> dict[str, Any]:
    found = {name: support.source(support.table(name, values)) for name, values in {**rows, "promoted": []}.items()}
    return {**found, "pictures": pictures}


def towers(**fields: Any) -> TwoTower:
    return TwoTower(**{"text": models.BERT_TINY, "size": 16, "dimensions": 16, "projection": "linear", **fields})


def clip(**fields: Any) -> TrainConfig:
    given = {
        "loss": Clip(),
        "batch_size": 6,
        "epochs": 2,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "checkpoint_steps": 2,
    }
    return TrainConfig(encoder=fields.pop("encoder", None) or towers(), **{**given, **fields})


def simclr(**fields: Any) -> TrainConfig:
    given = {
        "encoder": towers(text=None), "loss": NtXent(temperature=0.2), "projection": Projection(hidden=24, dimensions=8),
        "augmentations": (Simclr(size=16, crop=0.5, strength=0.5),), "batch_size": 6, "epochs": 3, "learning_rate": 1e-3,
        "logging_steps": 1, "checkpoint_steps": 2,
    }  # fmt: skip
    return TrainConfig(**{**given, **fields})


def batches(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What comes to the loss from now on."""
    seen: list[dict[str, Any]] = []
    forward = Contrastive.forward

    def records(self: Contrastive, batch: dict[str, Any], labels: None) -> torch.Tensor:
        seen.append(batch)
        return forward(self, batch, labels)

    monkeypatch.setattr(Contrastive, "forward", records)
    return seen


def kinds(side: dict[str, Any]) -> set[str]:
    return {"picture" if "pixel_values" in features else "text" for features in side["passes"]}


def test_a_batch_has_one_direction_and_its_negatives_are_of_the_wanted_kind(
    pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = batches(monkeypatch)
    result = support.run(train, clip(), captioned(pictures), tmp_path)
    assert [kinds(batch["query"]) | kinds(batch["document"]) for batch in seen] == [{"text", "picture"}] * 8
    asked = [kinds(batch["query"]) for batch in seen]
    assert all(len(kind) == 1 for kind in asked)
    assert {min(kind) for kind in asked} == {"text", "picture"}
    for batch in seen:
        assert kinds(batch["query"]) != kinds(batch["document"])
        assert batch["known"].shape == (6, 12)
        assert torch.equal(batch["known"][:, :6], torch.eye(6, dtype=torch.bool))
    assert result.rows("training_log")[-1]["loss"] < result.rows("training_log")[0]["loss"]
    (learned,) = [message for message in result.messages if "the loss learned" in message]
    assert re.fullmatch(r"the loss learned: temperature=0\.\d+", learned)


def test_a_projection_head_learns_and_of_what_it_learned_nothing_is_said(
    pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    heads: list[torch.Tensor] = []
    forward = Contrastive.forward

    def records(self: Contrastive, batch: dict[str, Any], labels: None) -> torch.Tensor:
        heads.append(self.objective.head[0].weight.detach().clone())
        return forward(self, batch, labels)

    monkeypatch.setattr(Contrastive, "forward", records)
    result = support.run(train, simclr(loss=Clip(), epochs=2), alone(pictures), tmp_path)
    assert not torch.equal(heads[0], heads[-1])
    (learned,) = [message for message in result.messages if "the loss learned" in message]
    assert re.fullmatch(r"the loss learned: temperature=0\.\d+", learned)


def test_each_caption_stands_beside_its_own_picture(pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen = batches(monkeypatch)
    support.run(train, clip(epochs=1), captioned(pictures), tmp_path)
    tokenizer = towers().module("cpu").tokenizer
    shown = [torch.from_numpy(squared(image, 16)).permute(2, 0, 1) for image in pictures.read()["image"].to_pylist()]

    def names(side: dict[str, Any]) -> list[str]:
        found = []
        for features in side["passes"]:
            if "pixel_values" in features:
                assert features["pixel_values"].dtype == torch.uint8
                found += [
                    NAMES[next(i for i, one in enumerate(shown) if torch.equal(one, values))]
                    for values in features["pixel_values"]
                ]
            else:
                found += tokenizer.batch_decode(features["input_ids"], skip_special_tokens=True)
        return [found[place] for place in side["places"].tolist()]

    for batch in seen:
        asked, held = names(batch["query"]), names(batch["document"])
        assert held[:6] == asked
        assert held[6:] == [NAMES[(NAMES.index(name) + 1) % N] for name in asked]


@pytest.fixture(scope="module")
def uninterrupted(pictures: Any, tmp_path_factory: Any) -> Any:
    result = support.run(train, simclr(), alone(pictures), tmp_path_factory.mktemp("whole"))
    return result, contents(result.files["checkpoint"])


@pytest.mark.parametrize("step", [2, 4], ids=["before any state", "in the second epoch"])
def test_a_killed_training_on_views_goes_on_to_the_same_bytes(
    pictures: Any, uninterrupted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
):
    with monkeypatch.context() as patch:
        kill_at(step, patch)
        with pytest.raises(Killed):
            support.run(train, simclr(), alone(pictures), tmp_path)
    result = support.run(train, simclr(), alone(pictures), tmp_path)
    assert any("goes on after step 2" in message for message in result.messages) == (step > 2)
    assert contents(result.files["checkpoint"]) == uninterrupted[1]
    assert result["training_log"].equals(uninterrupted[0]["training_log"])


@pytest.mark.slow
def test_processes_that_make_batches_change_no_byte(pictures: Any, uninterrupted: Any, tmp_path: Path):
    result = support.run(train, simclr(workers=2), alone(pictures), tmp_path)
    assert contents(result.files["checkpoint"]) == uninterrupted[1]


def test_the_saved_model_is_without_the_head(pictures: Any, uninterrupted: Any):
    result, files = uninterrupted
    assert b"head.2" not in files["model.safetensors"].replace(b"vision_head", b"")
    loaded = towers(text=None).with_checkpoint(result.files["checkpoint"]).load("cpu", "fp32")
    found = loaded.encode_pictures(pictures.read()["image"].to_pylist(), "document")
    assert found.shape == (N, 16)


def test_views_differ_between_query_positive_and_epoch(pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen = batches(monkeypatch)
    support.run(train, simclr(batch_size=12, epochs=2), alone(pictures), tmp_path)
    views = [
        torch.cat([features["pixel_values"] for features in batch[side]["passes"]])
        for batch in seen
        for side in ("query", "document")
    ]
    assert [len(each) for each in views] == [12, 24, 12, 24]
    flat = torch.cat(views).flatten(1)
    assert len(torch.unique(flat, dim=0)) > 60  # of 72: no two views are meant to be the same


def test_gradient_caching_gives_the_same_training(pictures: Any, tmp_path: Path):
    logs = []
    for cached in (False, True):
        config = clip(cached=cached, pass_rows=4, epochs=1)
        result = support.run(train, config, captioned(pictures), tmp_path / str(cached))
        logs.append([row["loss"] for row in result.rows("training_log")])
    np.testing.assert_allclose(logs[0], logs[1], rtol=1e-4)


def test_early_stopping_searches_the_other_kind(pictures: Any, tmp_path: Path):
    config = clip(early_stopping=EarlyStopping(evaluate_steps=2), epochs=1)
    result = support.run(train, config, captioned(pictures, "dev"), tmp_path)
    assert all(0 < row["ndcg"] <= 1 for row in result.rows("dev_curve"))


def test_texts_have_views_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from tests.stages.test_train import real

    seen = batches(monkeypatch)
    config = TrainConfig(encoder=models.tiny(), augmentations=(Words(max_share=0.5),), batch_size=8, max_steps=1)
    support.run(train, config, real(8), tmp_path)
    short = sum(int(features["attention_mask"].sum()) for features in seen[0]["document"]["passes"])
    seen.clear()
    support.run(train, config.model_copy(update={"augmentations": ()}), real(8), tmp_path / "plain")
    plain = sum(int(features["attention_mask"].sum()) for features in seen[0]["document"]["passes"])
    assert short < 0.8 * plain


def test_a_loss_over_projections_is_that_of_projected_embeddings():
    batch = naive.case(1, 4, 3, dimensions=6)
    single = Batch(batch.queries.float(), batch.documents.float(), batch.positives, batch.known, batch.owners)
    module = Projected(Infonce(), 6, 5, 3, 7).module()
    again = Projected(Infonce(), 6, 5, 3, 7).module()
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), again.parameters(), strict=True))
    first, _, last = module.head
    by_hand = [
        torch.relu(v @ first.weight.T + first.bias) @ last.weight.T + last.bias
        for v in (single.queries, single.documents)
    ]
    expected = Infonce().module()(Batch(*by_hand, single.positives, single.known, single.owners)).loss
    torch.testing.assert_close(module(single).loss, expected)


def test_an_encoder_of_texts_is_refused_before_anything_is_computed(pictures: Any, tmp_path: Path):
    with pytest.raises(ConfigError, match="pictures to encode"):
        support.run(train, TrainConfig(encoder=models.tiny()), alone(pictures), tmp_path)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["clip", "simclr"])
def test_a_step_on_cuda_is_that_of_the_processor(pictures: Any, tmp_path: Path, kind: str):
    """Losses of the first steps in float32: the model, its views and its batches are the same."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    sources = captioned(pictures) if kind == "clip" else alone(pictures)
    make = clip if kind == "clip" else simclr
    logs = []
    for device in ("cpu", "cuda"):
        config = make(precision="fp32", learning_rate=1e-4)
        result = support.run(train, config, sources, tmp_path / device, device=device)
        logs.append([row["loss"] for row in result.rows("training_log")])
    np.testing.assert_allclose(logs[0][:3], logs[1][:3], rtol=2e-3)
