"""Rounds that are one training: its states go on from round to round, and only the negatives change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from stages import train
from tests import support
from tests.stages.test_train import Encoder, Killed, contents, folder_of, kill_at, real, small


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(str(folder_of("cognition", "model")))


def rounds(count: int, config: train.TrainConfig, folder: Path, worlds: Any = None) -> list[support.Result]:
    """`count` trainings, each from the model and the state that the one before ended with."""
    results: list[support.Result] = []
    for number in range(count):
        inputs = dict(worlds[number] if worlds else real(20))
        if results:
            made = results[-1].inputs()
            inputs |= {name: made[name] for name in ("checkpoint", "training_state") if name in made}
        results.append(support.run(train, config, inputs, folder / str(number), round=number))
        torch.rand(number + 1)  # nothing may depend on the state that the process is in
    return results


def trained(result: support.Result) -> dict[str, bytes]:
    """The files of the trained model, but for its card, which names the configuration."""
    files = contents(result.files["checkpoint"])
    assert files.pop("README.md")
    return files


@pytest.mark.parametrize("steps", [2, 3], ids=["within an epoch", "at the end of an epoch"])
@pytest.mark.parametrize("saving", [0, 2])
def test_rounds_with_unchanged_negatives_are_one_training_byte_for_byte(
    encoder: Encoder, tmp_path: Path, steps: int, saving: int
):
    common = {"epochs": 9, "logging_steps": 1, "checkpoint_steps": saving, "warmup_ratio": 0.4}
    once = support.run(train, small(encoder, max_steps=2 * steps, **common), real(20), tmp_path / "once")
    first, second = rounds(2, small(encoder, max_steps=steps, schedule_rounds=2, **common), tmp_path)
    assert trained(second) == trained(once)
    assert [*first.rows("training_log"), *second.rows("training_log")] == once.rows("training_log")
    assert [row["step"] for row in second.rows("training_log")] == list(range(steps + 1, 2 * steps + 1))
    assert (first.facts["first_step"], second.facts["first_step"]) == (1, steps + 1)
    assert "training_state" in first.files
    assert "training_state" not in second.files


def test_three_rounds_are_one_training_and_the_fourth_starts_anew(encoder: Encoder, tmp_path: Path):
    config = small(encoder, epochs=1, logging_steps=3, schedule_rounds=3)
    results = rounds(4, config, tmp_path)
    once = support.run(train, small(encoder, epochs=3, logging_steps=3), real(20), tmp_path / "once")
    assert trained(results[2]) == trained(once)
    ends = [result.rows("training_log")[-1] for result in results]
    assert [(row["step"], row["learning_rate"] > 0) for row in ends] == [(3, True), (6, True), (9, False), (3, True)]


def test_without_a_schedule_over_rounds_each_starts_anew(encoder: Encoder, tmp_path: Path):
    results = rounds(2, small(encoder, epochs=1), tmp_path)
    assert [result.rows("training_log")[-1]["step"] for result in results] == [3, 3]
    assert all("training_state" not in result.files for result in results)


def test_fresh_negatives_change_the_rest_of_the_training_alone(encoder: Encoder, tmp_path: Path):
    """The second round sees its own negatives: with none at all its batches are smaller, and its order stays."""
    bare = {**real(20), "triplets": support.source(support.table("triplets", []))}
    config = small(encoder, epochs=1, schedule_rounds=2)
    results = rounds(2, config, tmp_path, [real(20), bare])
    same = rounds(2, config, tmp_path / "same")
    assert contents(results[0].files["training_state"]) == contents(same[0].files["training_state"])
    assert results[1].counters["texts"] == 2 * 20
    assert contents(results[1].files["checkpoint"]) != contents(same[1].files["checkpoint"])


@pytest.mark.parametrize("step", [1, 3])
def test_a_killed_later_round_goes_on_to_the_same_bytes(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
):
    config = small(encoder, epochs=1, logging_steps=1, checkpoint_steps=1, schedule_rounds=2)
    first, second = rounds(2, config, tmp_path)
    inputs = {**real(20), **{n: s for n, s in first.inputs().items() if n in ("checkpoint", "training_state")}}
    with monkeypatch.context() as patch:
        kill_at(step, patch)
        with pytest.raises(Killed):
            support.run(train, config, inputs, tmp_path / "killed", round=1)
    again = support.run(train, config, inputs, tmp_path / "killed", round=1)
    assert any(f"goes on after step {2 + step} of 6" in message for message in again.messages)
    assert contents(again.files["checkpoint"]) == contents(second.files["checkpoint"])
    assert again["training_log"].equals(second["training_log"])


def test_a_carried_state_has_the_same_bytes_in_any_folder(encoder: Encoder, tmp_path: Path):
    config = small(encoder, epochs=1, schedule_rounds=2)
    one, two = (rounds(1, config, tmp_path / name)[0].files["training_state"] for name in ("here", "there/below"))
    assert contents(one) == contents(two)
    assert str(tmp_path).encode() not in b"".join(contents(one).values())
