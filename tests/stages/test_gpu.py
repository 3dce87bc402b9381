"""What members of several families give on a GPU is what they give on a processor: `python -m pytest -m gpu tests/stages/test_gpu.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.arrays import cosines
from stages.encoders.clip import Clip
from stages.encoders.efficientnet_lite import EfficientnetLite
from stages.encoders.two_tower import TwoTower
from stages.retrievers.encoder import Encoder
from stages.retrievers.sparse import Sparse
from stages.teachers.cross_encoder import CrossEncoder
from stages.writers.local import Local
from tests import retrieval_world
from tests.models import static, tiny
from tests.pictures import png
from tests.stages.encoders.test_pictures import clip_folder
from tests.stages.retrievers.test_models import splade  # noqa: F401
from tests.stages.teachers.test_cross_encoder import TEXTS, save
from tests.stages.writers.test_local import seq2seq  # noqa: F401
from tests.support import MemoryCache, TestContext

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

IMAGES = [png(i, width=70 + i, height=50) for i in range(40)]
WORDS = ["a red dog", "blue", "a blue red dog a dog", "red"] * 10
PRECISIONS = pytest.mark.parametrize(("precision", "least"), [("fp32", 1 - 1e-5), ("bf16", 0.999)])


@PRECISIONS
@pytest.mark.parametrize("kind", ["clip", "two towers", "efficientnet"])
def test_vectors_of_pictures_and_captions(kind: str, precision: str, least: float, tmp_path: Path) -> None:
    encoders: dict[str, Any] = {
        "clip": lambda: Clip(model=str(clip_folder(tmp_path))),
        "two towers": lambda: TwoTower(size=32, dimensions=16),
        "efficientnet": lambda: EfficientnetLite(size=64),
    }
    encoder = encoders[kind]()
    here, there = encoder.load("cpu", "fp32"), encoder.load("cuda", precision)
    if (kind, precision) == ("efficientnet", "bf16"):
        least = 0.99  # its 49 convolutions in a row
    seen = there.encode_pictures(IMAGES, "document")
    assert seen.dtype == np.float32
    assert cosines(seen, here.encode_pictures(IMAGES, "document")).min() >= least
    if "text" in encoder.encodes:
        assert cosines(there.encode(WORDS, "query"), here.encode(WORDS, "query")).min() >= least


@PRECISIONS
def test_vectors_of_a_table_of_weights(precision: str, least: float) -> None:
    here, there = (
        static(query_prompt="find: ").load(device, p).encode(WORDS, "query")
        for device, p in (("cpu", "fp32"), ("cuda", precision))
    )
    assert cosines(there, here).min() >= least


@pytest.mark.parametrize(("precision", "off"), [("fp32", 1e-4), ("bf16", 0.05)])
def test_scores_of_a_cross_encoder(precision: Any, off: float, tmp_path: Path) -> None:
    folder = str(save(tmp_path / "reranker"))

    def scores(device: str, wanted: Any) -> np.ndarray:
        teacher = CrossEncoder(model=folder, max_tokens=128, activation="none", precision=wanted)
        return teacher.open(device, MemoryCache(), print).score_texts(TEXTS * 20).score

    there, here = scores("cuda", precision), scores("cpu", "fp32")
    assert np.abs(there - here).max() < off
    assert len(set(np.round(here, 5))) > 5


def test_pairs_that_do_not_fit_are_halved(tmp_path: Path) -> None:
    teacher = CrossEncoder(model=str(save(tmp_path / "reranker")), max_tokens=128, activation="none")
    many = [(f"{q} {i}", d * 3) for i in range(400) for q, d in TEXTS]
    expected = teacher.open("cuda", MemoryCache(), print).score_texts(many).score
    messages: list[str] = []
    scorer = teacher.open("cuda", MemoryCache(), messages.append)
    scorer.tokens = 10_000_000
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 256 * 2**20) / total)
    try:
        found = scorer.score_texts(many).score
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert scorer.counts["halved"] == sum("out of memory" in message for message in messages) > 0
    assert np.abs(found - expected).max() < 1e-3


def test_hits_of_a_sparse_model(splade: Path, tmp_path: Path) -> None:  # noqa: F811
    found = {}
    for device in ("cpu", "cuda"):
        collection = retrieval_world.collection(tmp_path / device, device=device)
        found[device] = Sparse(model=str(splade)).open(collection).search(np.arange(5), 5)
    here, there = found["cpu"], found["cuda"]
    assert retrieval_world.hits(there) == retrieval_world.hits(here)
    filled = here[0] >= 0
    np.testing.assert_allclose(there[1][filled], here[1][filled], rtol=1e-4)


def test_hits_of_another_encoder(tmp_path: Path) -> None:
    found = {}
    for device in ("cpu", "cuda"):
        collection = retrieval_world.collection(tmp_path / device, device=device)
        found[device] = Encoder(encoder=tiny(), precision="fp32").open(collection).search(np.arange(5), 5)
    np.testing.assert_allclose(found["cuda"][1], found["cpu"][1], atol=1e-4)


def test_a_local_model_writes_the_same_each_time(seq2seq: Path) -> None:  # noqa: F811
    """Another device draws other random numbers, so its queries are its own: the same in whatever company."""
    texts = ["the quick brown fox", "boil water before tea", "moon turns"]
    random = torch.cuda.get_rng_state()
    written = [
        Local(model=str(seq2seq), query_tokens=8).open(TestContext(device="cuda")).write(given, 3)
        for given in (texts, texts[::-1])
    ]
    assert written[0] == written[1][::-1]
    assert len({query for each in written[0] for query in each or []}) > 3
    assert torch.equal(torch.cuda.get_rng_state(), random)
