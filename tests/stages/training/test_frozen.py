"""What frozen towers give is computed once for each text and picture, and training goes as it does without that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from stages import train
from stages.augmentations.simclr import Simclr
from stages.augmentations.words import Words
from stages.encoders._towers import Towers
from stages.training import frozen
from tests import support
from tests.stages.test_train import Killed, contents, kill_at
from tests.stages.training.test_pictures import N, captioned, clip, pictures, towers

__all__ = ["pictures"]  # a fixture

BOTH = {"encoder": towers(freeze=("vision", "text")), "learning_rate": 1e-2}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many texts and pictures go through towers from now on."""
    counts = {"pixel_values": 0, "input_ids": 0}
    tower = Towers.tower

    def counted(self: Towers, features: dict[str, Any]) -> Any:
        for name in counts:
            counts[name] += len(features.get(name, ()))
        return tower(self, features)

    monkeypatch.setattr(Towers, "tower", counted)
    return counts


def weights(result: Any) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = load_file(result.files["checkpoint"] / "model.safetensors")
    return found


def test_each_text_and_picture_goes_through_a_frozen_tower_once_and_the_weights_are_those_without(
    pictures: Any, tmp_path: Path, seen: dict[str, int], monkeypatch: pytest.MonkeyPatch
):
    once = support.run(train, clip(**BOTH), captioned(pictures), tmp_path / "once")
    assert seen == {"pixel_values": N, "input_ids": N}
    monkeypatch.setattr(frozen, "frozen", lambda module, augmentations: [])
    again = support.run(train, clip(**BOTH), captioned(pictures), tmp_path / "again")
    assert seen["pixel_values"] > 5 * N
    theirs = weights(again)
    for name, values in weights(once).items():
        np.testing.assert_allclose(values, theirs[name], atol=2e-4, err_msg=name)
    assert [row["loss"] for row in once.rows("training_log")] == pytest.approx(
        [row["loss"] for row in again.rows("training_log")], abs=1e-3
    )


def test_the_other_tower_is_trained_as_ever(pictures: Any, tmp_path: Path, seen: dict[str, int]):
    encoder = towers(freeze=("vision",))
    before = {name: value.numpy() for name, value in encoder.module("cpu")[0].state_dict().items()}
    after = weights(support.run(train, clip(encoder=encoder), captioned(pictures), tmp_path))
    assert seen["pixel_values"] == N
    assert seen["input_ids"] > 5 * N
    same = {name.partition(".")[0] for name in before if np.array_equal(before[name], after[name])}
    changed = {name.partition(".")[0] for name in before if not np.array_equal(before[name], after[name])}
    assert "vision_tower" in same - changed
    assert {"text_tower", "text_head", "vision_head"} <= changed


def test_texts_at_the_limit_of_tokens_are_counted_alike(pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = clip(**BOTH, max_tokens=8)
    once = support.run(train, config, captioned(pictures), tmp_path / "once")
    monkeypatch.setattr(frozen, "frozen", lambda module, augmentations: [])
    again = support.run(train, config, captioned(pictures), tmp_path / "again")
    counts = [result.counters["texts.at_token_limit"] for result in (once, again)]
    assert counts[0] == counts[1] > 0


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_bytes(pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = support.run(train, clip(**BOTH), captioned(pictures), tmp_path / "whole")
    with monkeypatch.context() as patch:
        kill_at(4, patch)
        with pytest.raises(Killed):
            support.run(train, clip(**BOTH), captioned(pictures), tmp_path / "killed")
    result = support.run(train, clip(**BOTH), captioned(pictures), tmp_path / "killed")
    assert contents(result.files["checkpoint"]) == contents(whole.files["checkpoint"])


@pytest.mark.long
def test_processes_that_make_batches_change_no_byte(pictures: Any, tmp_path: Path):
    one, more = (
        support.run(train, clip(**BOTH, workers=workers), captioned(pictures), tmp_path / str(workers))
        for workers in (0, 2)
    )
    assert contents(one.files["checkpoint"]) == contents(more.files["checkpoint"])


def test_views_are_not_remembered():
    module = towers(freeze=("vision", "text")).module("cpu")
    assert frozen.frozen(module, ()) == ["vision", "text"]
    assert frozen.frozen(module, (Simclr(size=16),)) == ["text"]
    assert frozen.frozen(module, (Words(),)) == ["vision"]
    assert frozen.frozen(towers().module("cpu"), ()) == []
