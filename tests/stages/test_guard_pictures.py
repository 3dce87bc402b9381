"""A guard of pictures: zero-shot classification by the prompts of classes, and captions and pictures that look for each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import ValidationError

from stages import guard
from stages.errors import ConfigError, InputError
from stages.guard import GuardConfig
from stages.imaging import rgb
from tests import models
from tests.pictures import blob, packed
from tests.stages.test_guard import OWN
from tests.support import run

COLOURS = {"red": (200, 30, 40), "blue": (30, 60, 200), "green": (20, 150, 50)}


class Seer:
    """Knows colours: a picture's mean colour and a caption's word are near each other."""

    encodes: ClassVar[frozenset[str]] = frozenset({"text", "picture"})
    dimensions, max_tokens = 4, None

    def __init__(self) -> None:
        self.counts = {"truncated": 0, "repeated": 0, "halved": 0}

    def fingerprint(self) -> str:
        return "colours"

    def notes(self) -> list[str]:
        return []

    def with_checkpoint(self, path: Path) -> Seer:
        return self

    def load(self, device: str, precision: str) -> Seer:
        return self

    def encode(self, texts: Sequence[str], role: str, *args: Any, **kwargs: Any) -> np.ndarray:
        found = [next((COLOURS[word] for word in text.split() if word in COLOURS), (90, 90, 90)) for text in texts]
        return self._unit(np.array(found), 30.0)

    def encode_pictures(self, images: Sequence[bytes], role: str) -> np.ndarray:
        values = [np.asarray(rgb(image)).reshape(-1, 3) for image in images]
        return self._unit(np.array([v[v.min(axis=1) < 250].mean(axis=0) for v in values]), 0.0)

    def _unit(self, colours: np.ndarray, kind: float) -> np.ndarray:
        wide = np.c_[colours, np.full(len(colours), kind)].astype(np.float32)
        return wide / np.linalg.norm(wide, axis=1, keepdims=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures of each colour, one folder a colour, whose name is the class."""
    for name, colour in COLOURS.items():
        (tmp_path / "data" / "test" / name).mkdir(parents=True)
        for place in range(3):
            (tmp_path / "data" / "test" / name / f"{place}.png").write_bytes(packed(blob(colour, place)))
    (tmp_path / "data" / "test" / "red" / "odd.png").write_bytes(packed(blob(COLOURS["blue"], 8)))
    return tmp_path


def config(folder: Path, direction: str, encoder: Any = None, **fields: Any) -> GuardConfig:
    data = {"name": "image_folder", "path": str(folder / "data"), "direction": direction, "prompt": "{}"}
    prompts = fields.pop("prompts", ())
    given: dict[str, Any] = {
        "depth": 5, "ndcg_cutoffs": (5,), "mrr_cutoffs": (1,), "recall_cutoffs": (5,), "bootstrap": 100, "randomisations": 100,
    }  # fmt: skip
    return GuardConfig.model_validate(
        {
            "collections": {"seen": {"dataset": data, "prompts": prompts}},
            "encoder": encoder or Seer(),
            **given,
            **fields,
        }
    )


def means(result: Any) -> dict[str, float]:
    return {row["measure"]: row["value"] for row in result.rows("guard_metrics") if row["query_row"] is None}


class Prompted(Seer):
    """What a class is called depends on the prompt: with some it is another colour, and one prompt has vectors ten times as long."""

    def __init__(self, turns: dict[str, int], long: str = "") -> None:
        super().__init__()
        self.turns, self.long = turns, long
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str], role: str, *args: Any, **kwargs: Any) -> np.ndarray:
        self.asked += texts
        names = list(COLOURS)
        turned = []
        for text in texts:
            *prompt, name = text.split()
            turned.append(names[(names.index(name) + self.turns.get(" ".join(prompt), 0)) % len(names)])
        lengths = [10.0 if self.long and text.startswith(self.long) else 1.0 for text in texts]
        return super().encode(turned, role) * np.array(lengths, dtype=np.float32)[:, None]


@pytest.mark.parametrize(
    ("prompts", "long", "expected"),
    [
        (("wrong {}",), "", 0.0),
        (("a {}", "wrong {}", "the {}"), "", 0.9),  # two against one
        (("a {}", "wrong {}", "the {}"), "wrong", 0.9),  # lengths say nothing: each prompt counts once
    ],
)
def test_the_vector_of_a_class_is_the_mean_of_unit_vectors_over_prompts(
    folder: Path, prompts: tuple[str, ...], long: str, expected: float
):
    encoder = Prompted({"wrong": 1}, long)
    measured = means(run(guard, config(folder, "classes", encoder, prompts=prompts), OWN, folder / "out"))["MRR"]
    assert measured == pytest.approx(expected, abs=0.11 if expected == 0 else 1e-9)  # the odd one
    assert sorted(encoder.asked) == sorted(prompt.replace("{}", name) for prompt in prompts for name in COLOURS)


def test_the_mean_over_prompts_has_length_one(folder: Path):
    found = guard._documents(config(folder, "classes"), Prompted({"wrong": 1}), ["red", "blue"], ("a {}", "wrong {}"))
    one, other = (Prompted({"wrong": 1}).encode([f"{word} red", f"{word} blue"], "document") for word in ("a", "wrong"))
    expected = (one + other).astype(np.float64)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_prompts_around_pictures_and_prompts_without_a_place_are_refused(folder: Path):
    with pytest.raises(ConfigError, match="prompts are put around texts"):
        run(guard, config(folder, "text_to_image", prompts=("a {}",)), OWN, folder / "out")
    with pytest.raises(ValidationError, match="prompts"):
        config(folder, "classes", prompts=("a picture",))


@pytest.mark.parametrize("block", [2, 100])
def test_accuracy_of_zero_shot_classification_is_the_reciprocal_rank_at_one(folder: Path, block: int):
    result = run(guard, config(folder, "classes", block_rows=block), OWN, folder / "out")
    assert result.facts["seen"]["documents"] == 3
    assert result.facts["seen"]["queries"] == 10
    assert means(result)["MRR"] == pytest.approx(0.9)  # the odd one is blue among the red


@pytest.mark.parametrize("block", [2, 100])
def test_captions_and_pictures_look_for_each_other(folder: Path, block: int):
    result = run(guard, config(folder, "both", block_rows=block), OWN, folder / "out")
    found = {row["query_row"]: row["value"] for row in result.rows("guard_metrics") if row["measure"] == "MRR"}
    assert result.facts["seen"]["documents"] == 13  # ten pictures and three captions
    captions = [row for row in result.rows("guard_queries") if found[row["row"]] == 1.0]
    assert len(captions) == 12  # all but the odd picture, whose caption is red
    assert means(result)["MRR"] == pytest.approx(12 / 13)


def test_an_encoder_of_texts_is_refused(folder: Path):
    with pytest.raises(ConfigError, match="pictures to encode"):
        run(guard, config(folder, "both", models.tiny()), OWN, folder / "out")


def test_only_pictures_of_queries_that_are_measured_are_decoded(folder: Path):
    (folder / "data" / "train" / "red").mkdir(parents=True)
    (folder / "data" / "train" / "red" / "half.png").write_bytes(packed(blob(COLOURS["red"], 1))[:60])
    result = run(guard, config(folder, "classes"), OWN, folder / "out")
    assert result.facts["seen"]["queries"] == 10
    assert means(result)["MRR"] == pytest.approx(0.9)
    (folder / "data" / "test" / "red" / "half.png").write_bytes(packed(blob(COLOURS["red"], 1))[:60])
    with pytest.raises(InputError, match="picture"):
        run(guard, config(folder, "classes"), OWN, folder / "out2")
