"""Training in two processes against training in one: the same batches, masks and negatives, and so the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stages import train
from stages.checkpoints import Journal
from stages.errors import ConfigError
from stages.losses.infonce import Infonce
from stages.training.collator import Collator
from stages.training.contrastive import Contrastive
from stages.training.model import adapt
from stages.training.world import World
from tests import support
from tests.stages.test_train import Encoder, folder_of, real
from tests.stages.training.test_contrastive import batch

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """BERT-tiny without dropout, so that both ways are the same but for rounding."""
    model = Encoder(str(folder_of("cognition", "model"))).module("cpu")
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    inner: Any = model[0]
    config = inner.auto_model.config if hasattr(inner, "auto_model") else inner.model.config
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    place = tmp_path_factory.mktemp("model")
    model.save_pretrained(str(place), create_model_card=False)
    return Encoder(str(place))


def config_of(encoder: Encoder, **changes: Any) -> train.TrainConfig:
    fields: dict[str, Any] = {
        "batch_size": 8, "epochs": 2, "logging_steps": 2, "checkpoint_steps": 2, "learning_rate": 1e-3, "pass_rows": 4,
        "loss": Infonce(learned_temperature=True), **changes,
    }  # fmt: skip
    return train.TrainConfig(encoder=encoder, **fields)


def weights(result: support.Result) -> dict[str, torch.Tensor]:
    return load_file(result.files["checkpoint"] / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="plain"),
        pytest.param(
            {"cached": True, "accumulate": 2, "lora": {"rank": 4}},
            id="cached and accumulated adapters",
            marks=pytest.mark.long,
        ),
    ],
)
def test_two_processes_train_the_model_of_one(encoder: Encoder, tmp_path: Path, changes: dict[str, Any]):
    sources = real(20)  # batches of 8, 8 and 4
    one = support.run(train, config_of(encoder, **changes), sources, tmp_path / "one")
    two = support.run(train, config_of(encoder, devices=2, **changes), sources, tmp_path / "two")
    start = load_file(Path(encoder.folder) / "model.safetensors")
    alone, together = weights(one), weights(two)
    for name, values in alone.items():
        assert torch.allclose(values, together[name], atol=1e-4), name
    moved = max(float((values - start[name]).abs().max()) for name, values in alone.items())
    assert moved > 1e-3
    for own, other in zip(one.rows("training_log"), two.rows("training_log"), strict=True):
        assert other["loss"] == pytest.approx(own["loss"], rel=1e-4)
        assert other["masked"] == own["masked"]
    assert one.counters == two.counters
    assert any("the loss learned" in message for message in two.messages)


CASES: dict[str, dict[str, Any]] = {
    "plain": {}, "cached": {"cached": True}, "adapters": {"lora": True}, "cached adapters": {"lora": True, "cached": True},
    "fewer texts than processes": {"rows": 1},
}  # fmt: skip


def gradients(folder: str, share: tuple[int, int], *, rows: int = 11, lora: bool = False, **how: Any) -> Tensors:
    """Of one batch with known positives, by the name of the parameter; what is masked beside them."""
    model = Encoder(folder).module("cpu")
    if lora:
        torch.manual_seed(0)
        adapt(model, 4, 8.0, 0.0, ["query", "value"])
        for name, values in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(values, std=0.02)
    collator = Collator(None, None, None, None, model, None, pass_rows=4, share=share)  # type: ignore[arg-type]
    journal = Journal()
    contrastive = Contrastive(model, Infonce(learned_temperature=True), journal, world=World(*share), **how)
    contrastive(batch(collator, rows, 0.3), None).backward()
    World(*share).sum_gradients(model.parameters())
    journal.settle(1)
    found = {name: p.grad for name, p in contrastive.named_parameters() if p.grad is not None}
    return {**found, "loss": torch.tensor([journal.loss, journal.masked])}


def _each(rank: int, encoder: str, folder: Path) -> None:
    """One of two processes: the gradients of every case."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    for name, case in CASES.items():
        save_file(gradients(encoder, (rank, 2), **case), folder / f"{name} {rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_gradients_of_two_processes_are_those_of_the_whole_batch_in_one(encoder: Encoder, tmp_path: Path):
    torch.multiprocessing.spawn(_each, (encoder.folder, tmp_path), nprocs=2)
    for name, case in CASES.items():
        whole = gradients(encoder.folder, (0, 1), **case)
        assert any("lora_B" in parameter for parameter in whole) == ("adapters" in name)
        assert float(whole["loss"][1]) > 0 or "fewer" in name  # the mask reaches over both processes
        first, second = (load_file(tmp_path / f"{name} {rank}") for rank in range(2))
        assert whole.keys() == first.keys() == second.keys()
        for parameter, values in whole.items():
            assert torch.equal(first[parameter], second[parameter]), (name, parameter)
            norm = float(values.norm())
            torch.testing.assert_close(first[parameter], values, rtol=1e-4, atol=1e-6 * max(norm, 1), msg=parameter)


class Killed(BaseException):
    pass


@pytest.mark.long
def test_two_killed_processes_go_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    dropping = Encoder(str(folder_of("cognition", "model")))
    whole = support.run(train, config_of(dropping, devices=2), real(20), tmp_path / "whole")
    steps: list[int] = []

    def dies(self: support._Bar, amount: int = 1) -> None:
        steps.append(amount)
        if len(steps) == 4:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(support._Bar, "advance", dies)
        with pytest.raises(Killed):
            support.run(train, config_of(dropping, devices=2), real(20), tmp_path / "killed")
    resumed = support.run(train, config_of(dropping, devices=2), real(20), tmp_path / "killed")
    assert any("goes on after step" in message for message in resumed.messages)
    own, other = weights(whole), weights(resumed)
    assert all(torch.equal(values, other[name]) for name, values in own.items())
    assert whole["training_log"].equals(resumed["training_log"])


@pytest.mark.slow
def test_a_fault_in_a_process_is_told_as_in_one(encoder: Encoder, tmp_path: Path):
    config = config_of(encoder, devices=2, learning_rate=1e30, loss=Infonce(temperature=1e-3))
    with pytest.raises(ConfigError, match="the loss is not a finite number") as error:
        support.run(train, config, real(20), tmp_path)
    assert "training step" in str(error.value.where)


def test_alone_nothing_is_done():
    world, values = World(), torch.arange(6.0).view(3, 2)
    assert world.whole(values, torch.arange(3), 3) is values
    assert world.total(4, values.device) == 4
    assert world.agree(lambda: "found") == "found"
    state = torch.get_rng_state()
    world.seed(0, 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.isfinite(values.numpy()).all()
