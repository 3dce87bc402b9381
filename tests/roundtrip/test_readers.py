"""What our exporters write is read back by our data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.initial import recognise
from stages.exporters._common import Texts
from stages.registry import build
from tests.export_world import world
from tests.stages.datasets.reading import ingested, judged

ROWS = [(q, 6 * q, 6 * q + n) for q in range(4) for n in range(1, 6)]
TRIPLETS = {(f"text of query {q}", f"text of document {p}", 1) for q, p, _ in ROWS} | {
    (f"text of query {q}", f"text of document {n}", 0) for q, _, n in ROWS
}
READERS = [
    ("flagembedding", "flagembedding", "", {}),
    ("tevatron", "tevatron", "", {}),
    ("tevatron_passages", "tevatron", "data", {}),
    ("dpr", "dpr", "data", {}),
    ("st_triplet", "huggingface", "data", {}),
    ("st_ntuple", "pairs", "data", {}),
    ("st_ntuple_scores", "pairs", "data", {}),
    ("st_margin_mse", "pairs", "data", {}),
    ("st_labelled_pair", "pairs", "data", {"label": "label"}),
]


def exported(target: str, folder: Path) -> Path:
    inputs = world(ROWS)
    member: Any = build("exporters", target, {})
    needed = {name: inputs[name] for name in getattr(member, "needs", ())}
    member.write(inputs["triplets"], Texts.read(inputs["queries"], inputs["corpus"], needed), folder)
    return folder


@pytest.mark.parametrize(("target", "reader", "inner", "fields"), READERS)
def test_triplets_come_back(tmp_path: Path, target: str, reader: str, inner: str, fields: dict[str, Any]) -> None:
    folder = exported(target, tmp_path / "out")
    place = folder / (inner or ("data" if reader != "tevatron" else ""))
    assert judged(ingested(reader, place, tmp_path, **fields)) == TRIPLETS
    if not fields:
        assert recognise(str(place)).name in (reader, "huggingface")


@pytest.mark.parametrize("reader", ["mteb", "beir"])
def test_a_retrieval_data_set_comes_back(tmp_path: Path, reader: str) -> None:
    result = ingested(reader, exported("mteb_beir", tmp_path / "out"), tmp_path)
    assert {pair for pair in TRIPLETS if pair[2]} <= judged(result)
    assert [r["doc_id"] for r in result.rows("corpus")] == [f"d{i}" for i in range(30)]
