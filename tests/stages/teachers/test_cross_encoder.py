"""A small cross-encoder of random weights, against sentence-transformers' own scores."""

import numpy as np
import pytest
import torch

from stages.errors import ArtefactError, ConfigError, ResourceError
from stages.teachers.cross_encoder import CrossEncoder
from tests import models
from tests.support import MemoryCache
from tests.teaching_world import DOCUMENTS, QUERIES, scores, taught, there, wanted

pytestmark = pytest.mark.skipif(not there("cognition"), reason="needs the package cognition")

TEXTS = [(q, d) for q in QUERIES for d in [*DOCUMENTS, " ".join(DOCUMENTS), "Yes.", " ".join(DOCUMENTS * 3)]]


def save(folder, labels=1):
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    base = models.folder("cognition") / "model"
    config = BertConfig.from_pretrained(base, num_labels=labels)
    torch.manual_seed(7)
    BertForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("reranker"))


def opened(model, **fields):
    messages = []
    scorer = CrossEncoder(model=str(model), **fields).open("cpu", MemoryCache(), messages.append)
    return scorer, messages


def test_scores_are_those_of_sentence_transformers(model):
    from sentence_transformers import CrossEncoder as Reference

    theirs = Reference(str(model), max_length=128, device="cpu").predict(TEXTS, activation_fn=torch.nn.Identity())
    logits = opened(model, max_tokens=128, activation="none")[0].score_texts(TEXTS).score
    np.testing.assert_allclose(logits, theirs, atol=1e-5)
    assert len(set(np.round(logits, 5))) > 5
    sigmoid = opened(model, max_tokens=128)[0].score_texts(TEXTS).score
    np.testing.assert_allclose(sigmoid, 1 / (1 + np.exp(-logits)), rtol=1e-12)


def test_a_score_hangs_on_the_pair_alone(model):
    scorer = opened(model, max_tokens=128)[0]
    together = scorer.score_texts(TEXTS).score
    alone = np.array([scorer.score_texts([pair]).score[0] for pair in TEXTS])
    backwards = scorer.score_texts(TEXTS[::-1]).score[::-1]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together, backwards)


def test_what_is_cut_is_counted(model):
    found = opened(model, max_tokens=64)[0].score_texts(TEXTS)
    assert found.truncated.tolist() == [len(d) > 300 for _, d in TEXTS]


def test_a_batch_that_does_not_fit_is_halved(model, monkeypatch):
    scorer, messages = opened(model, max_tokens=128)
    expected = scorer.score_texts(TEXTS).score
    forward = scorer.model.forward

    def small(**batch):
        if batch["input_ids"].numel() > 512:
            raise torch.OutOfMemoryError("no")
        return forward(**batch)

    monkeypatch.setattr(scorer.model, "forward", small)
    np.testing.assert_allclose(scorer.score_texts(TEXTS).score, expected, atol=1e-6)
    assert scorer.counts["halved"] == 2
    assert "batches now hold 512 tokens" in messages[-1]
    scorer.tokens = 32
    monkeypatch.setattr(scorer.model, "forward", lambda **batch: (_ for _ in ()).throw(torch.OutOfMemoryError("no")))
    with pytest.raises(ResourceError, match="one pair alone"):
        scorer.score_texts(TEXTS)


def test_the_stage_scores_every_pair_and_remembers(model, tmp_path, monkeypatch):
    teacher, cache = CrossEncoder(model=str(model)), MemoryCache()
    first = taught(tmp_path / "a", teacher, cache=cache, depth=3)
    assert set(scores(first, "cross_encoder")) == wanted(3)
    assert all(0 < s < 1 for s in scores(first, "cross_encoder").values())
    cold = taught(tmp_path / "b", teacher, depth=5)
    warm = taught(tmp_path / "c", teacher, cache=cache, depth=5)
    assert warm["teacher_scores"].equals(cold["teacher_scores"])
    assert warm.counters == cold.counters
    monkeypatch.setattr("stages.teachers.cross_encoder._Scorer.score_texts", None)
    assert taught(tmp_path / "d", teacher, cache=cache, depth=5)["teacher_scores"].equals(cold["teacher_scores"])


def test_the_fingerprint_follows_weights_and_settings(model, tmp_path):
    prints = {
        CrossEncoder(model=str(model), **f).fingerprint() for f in ({}, {"max_tokens": 64}, {"activation": "none"})
    }
    prints.add(CrossEncoder(model=str(save(tmp_path, labels=2))).fingerprint())
    assert len(prints) == 4


def test_models_that_cannot_rerank_are_refused(model, tmp_path):
    with pytest.raises(ConfigError, match="one score"):
        opened(save(tmp_path / "two", labels=2))
    with pytest.raises(ArtefactError, match="random"):
        opened(models.folder("cognition") / "model")
    with pytest.raises(ArtefactError, match="not the ones"):
        opened(model, sha256="0" * 64)
    with pytest.raises(ConfigError, match="more than the model has positions"):
        opened(model, max_tokens=4096)
    with pytest.raises(ResourceError, match="not there"):
        opened(tmp_path / "nothing")
