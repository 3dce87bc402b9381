"""Training on a GPU against training on the processor. Run alone: `pytest -m gpu tests/stages/training/test_cuda.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stages import train
from stages.checkpoints import Journal
from stages.losses.infonce import Infonce
from stages.training.collator import Collator
from stages.training.contrastive import Contrastive
from tests import support
from tests.stages.test_train import Encoder, Killed, kill_at, real, small
from tests.stages.training.test_contrastive import batch

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def gradients(encoder: Encoder, device: str, *, bf16: bool = False, dropout: bool = False, **how: Any) -> torch.Tensor:
    """Of the model's weights for one batch with known positives, in one row on the processor."""
    from accelerate.utils import send_to_device

    model = encoder.module(device).train(dropout)
    collator = Collator(None, None, None, None, model, None, pass_rows=4)  # type: ignore[arg-type]
    contrastive = Contrastive(model, Infonce(), Journal(), **how)
    given = send_to_device(batch(collator, 11, 0.3), device)
    torch.manual_seed(5)
    with torch.autocast(device, dtype=torch.bfloat16, enabled=bf16):
        loss = contrastive(given, None)
    loss.backward()
    return torch.cat([p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None])


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


def test_a_step_is_that_of_the_processor(encoder: Encoder):
    here = gradients(encoder, "cpu")
    assert apart(gradients(encoder, "cuda"), here) < 1e-3
    assert apart(gradients(encoder, "cuda", bf16=True), here) < 0.1


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_passes_that_are_done_twice_give_the_gradients_of_the_whole_batch(encoder: Encoder, bf16: bool):
    whole, cached = (gradients(encoder, "cuda", dropout=True, bf16=bf16, cached=cached) for cached in (False, True))
    assert apart(cached, whole) < (0.02 if bf16 else 1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_lowers_the_loss_as_on_the_processor(encoder: Encoder, tmp_path: Path, precision: str):
    config = small(encoder, precision=precision, epochs=6, logging_steps=3)
    there = support.run(train, config, real(20), tmp_path / "cuda", device="cuda")
    here = support.run(train, small(encoder, epochs=6, logging_steps=3), real(20), tmp_path / "cpu")
    assert f"cuda, {precision}" in " ".join(there.messages)
    last, first = there.rows("training_log")[-1], there.rows("training_log")[0]
    assert last["loss"] < 0.9 * first["loss"]
    assert first["masked"] == here.rows("training_log")[0]["masked"]
    mean, expected = (np.mean([row["loss"] for row in result.rows("training_log")]) for result in (there, here))
    assert mean == pytest.approx(expected, rel=0.25)  # dropout is another on each device


@pytest.mark.parametrize("changes", [{}, {"cached": True, "pass_rows": 3}], ids=["plain", "cached"])
def test_a_killed_run_goes_on_where_it_was(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
):
    """Some kernels add in an order that changes from run to run: where a gradient is all rounding, Adam's step is too."""
    config = small(encoder, **changes)
    whole = support.run(train, config, real(20), tmp_path / "whole", device="cuda")
    with monkeypatch.context() as patch:
        kill_at(4, patch)
        with pytest.raises(Killed):
            support.run(train, config, real(20), tmp_path / "killed", device="cuda")
    resumed = support.run(train, config, real(20), tmp_path / "killed", device="cuda")
    assert any("goes on after step" in message for message in resumed.messages)
    one, other = (load_file(result.files["checkpoint"] / "model.safetensors") for result in (whole, resumed))
    start = load_file(Path(encoder.folder) / "model.safetensors")
    moved, differ = (
        torch.cat([(values - others[name]).flatten() for name, values in one.items()]).norm()
        for others in (start, other)
    )
    assert differ < 0.1 * moved
    assert [row["step"] for row in resumed.rows("training_log")] == [row["step"] for row in whole.rows("training_log")]
