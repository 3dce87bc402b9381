"""Models in the formats of OpenVINO and ONNX Runtime, against the same model in torch: `make test-backends` has the packages."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import embed
from stages.arrays import matrix
from stages.embed import EmbedConfig
from stages.encoders._backends import unusable
from stages.encoders.sentence_transformers import SentenceTransformers
from stages.errors import ConfigError, ResourceError
from tests.models import MINILM, corpus, folder, queries
from tests.support import run

BACKENDS = ("onnx", "openvino")
TEXTS = [" ".join(f"word{(i * j) % 17} of the {i} left femur" for j in range(1 + i * 2)) for i in range(24)]


@pytest.fixture(scope="module", params=BACKENDS)
def exported(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """MiniLM with a file for the backend beside its weights, exported once by the library."""
    backend = request.param
    if lacks := unusable(backend):
        pytest.skip(f"make test-backends: {lacks}")
    from sentence_transformers import SentenceTransformer

    place = tmp_path_factory.mktemp(backend) / "minilm"
    package, _, inner = MINILM.removeprefix("package:").partition("/")
    shutil.copytree(folder(package) / inner, place)
    SentenceTransformer(str(place), backend=backend, device="cpu").save_pretrained(str(place))
    return backend, place


def test_vectors_are_those_of_torch(exported: tuple[str, Path]) -> None:
    backend, place = exported
    encoders = [SentenceTransformers(model=str(place)), SentenceTransformers(model=str(place), backend=backend)]  # type: ignore[arg-type]
    one, other = (encoder.load("cpu", "fp32") for encoder in encoders)
    wanted, found = one.encode(TEXTS, "document"), other.encode(TEXTS, "document")
    assert (wanted * found).sum(
        axis=1
    ).min() > 1 - 1e-5  # bf16, which OpenVINO takes where nobody says otherwise, has .9999
    assert np.abs(wanted - found).max() < 1e-3
    assert other.dimensions == one.dimensions
    assert other.max_tokens == one.max_tokens
    assert encoders[0].fingerprint() != encoders[1].fingerprint()
    cut = SentenceTransformers(model=str(place), backend=backend, dimensions=64).load("cpu", "fp32")  # type: ignore[arg-type]
    assert np.allclose(cut.encode(TEXTS, "document") @ cut.encode(TEXTS, "document").T, _first(wanted, 64), atol=1e-3)


def _first(values: np.ndarray, dimensions: int) -> np.ndarray:
    short = values[:, :dimensions] / np.linalg.norm(values[:, :dimensions], axis=1, keepdims=True)
    return np.asarray(short @ short.T)


def test_a_stage_embeds_with_it(exported: tuple[str, Path], tmp_path: Path) -> None:
    backend, place = exported
    encoder = SentenceTransformers(model=str(place), backend=backend, max_tokens=32)  # type: ignore[arg-type]
    inputs = {"corpus": corpus(TEXTS), "queries": queries(["a femur"])}
    result = run(embed, EmbedConfig(encoder=encoder, shard_rows=10), inputs, tmp_path)
    plain = SentenceTransformers(model=str(place), max_tokens=32)
    torch = run(embed, EmbedConfig(encoder=plain, shard_rows=10), inputs, tmp_path)
    assert result.counters["corpus.truncated"] == torch.counters["corpus.truncated"] > 0
    assert np.abs(matrix(result["corpus_vectors"]) - matrix(torch["corpus_vectors"])).max() < 1e-3


def test_another_arithmetic_and_a_missing_file_are_refused(exported: tuple[str, Path], tmp_path: Path) -> None:
    backend, place = exported
    encoder = SentenceTransformers(model=str(place), backend=backend)  # type: ignore[arg-type]
    for device, precision in (("cpu", "bf16"), ("cuda", "fp32")):
        with pytest.raises(ConfigError, match="for a processor and fp32"):
            encoder.load(device, precision)
    bare = shutil.copytree(place, tmp_path / "bare", ignore=shutil.ignore_patterns(backend))
    with pytest.raises(ResourceError, match="no file for the backend"):
        SentenceTransformers(model=str(bare), backend=backend).load("cpu", "fp32")  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_not_there_or_does_not_fit_is_said(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if not unusable(backend):
        monkeypatch.setitem(sys.modules, "optimum", None)
        monkeypatch.delitem(sys.modules, f"optimum.{'intel' if backend == 'openvino' else 'onnxruntime'}")
    with pytest.raises(ResourceError, match=f"the backend {backend} needs") as error:
        SentenceTransformers(model=MINILM, backend=backend).load("cpu", "fp32")
    assert "docs/embedding.md" in str(error.value)
