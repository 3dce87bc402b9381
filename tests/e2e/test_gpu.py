"""A whole run on a GPU against the same on a processor: `python -m pytest -m gpu tests/e2e/test_gpu.py`."""

from __future__ import annotations

from pathlib import Path

import pyarrow.dataset as ds
import pytest
import torch

from tests.e2e.conftest import CONFIG, hardrock, write_beir
from tests.models import BERT_TINY

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
STATIC = CONFIG[: CONFIG.index("[ingest.dataset]")]
MODEL = f'[encoder]\nname = "sentence_transformers"\nmodel = "{BERT_TINY}"\n\n'


def table(workspace: Path, name: str) -> list[dict[str, object]]:
    return ds.dataset(sorted(map(str, workspace.glob(f"{name}-*.parquet")))).to_table().to_pylist()


def pairs(workspace: Path) -> set[tuple[object, object]]:
    """Queries and their negatives."""
    return {(row["query_row"], row["negative_row"]) for row in table(workspace, "round-00/sample/triplets")}


def ndcg(workspace: Path, number: int) -> float:
    wanted = {
        "system": "dense",
        "split": "test",
        "measure": "nDCG",
        "cutoff": 10,
        "query_row": None,
        "collection": None,
    }
    (value,) = [
        row["value"] for row in table(workspace, f"round-0{number}/evaluate/metrics") if wanted.items() <= row.items()
    ]
    return float(str(value))


@pytest.mark.parametrize("model", ["static", "transformer"])
def test_a_run_is_that_of_a_processor(tmp_path: Path, model: str) -> None:
    write_beir(tmp_path / "beir")
    config = (
        CONFIG
        if model == "static"
        else CONFIG.replace(STATIC, MODEL)
        .replace("0.05\ncheck", "2e-4\ncheck")
        .replace("margin = 0.05", "margin = 0.0")
    )
    (tmp_path / "hardrock.toml").write_text(config.replace("[mine]", 'precision = "fp32"\n\n[mine]'))
    for device in ("cpu", "cuda"):
        hardrock("run", "--workspace", device, "--device", device, cwd=tmp_path)
    here, there = pairs(tmp_path / "cpu"), pairs(tmp_path / "cuda")
    assert len(here) > 200
    assert len(here & there) >= 0.98 * len(here | there)
    for number, within in ((0, 0.002), (1, 0.05)):
        assert ndcg(tmp_path / "cuda", number) == pytest.approx(ndcg(tmp_path / "cpu", number), abs=within)
    again = hardrock("run", "--workspace", "cuda", "--device", "cuda", cwd=tmp_path)
    assert "nothing to do" in again.stdout + again.stderr
