"""Another encoder as a teacher, against its vectors."""

import numpy as np
import pytest

from stages.teachers import encoder as module
from stages.teachers.encoder import Encoder
from tests.models import corpus, queries, static, tiny
from tests.support import MemoryCache
from tests.teaching_world import DOCUMENTS, QUERIES, inputs, scores, taught, there, wanted

pytestmark = pytest.mark.skipif(not there("wordllama"), reason="needs the package wordllama")


@pytest.mark.parametrize("block", [1, 3, 1024])
def test_scores_are_inner_products_of_its_vectors(tmp_path, monkeypatch, block):
    monkeypatch.setattr(module, "BLOCK", block)
    member = static(query_prompt="query: ")
    loaded = member.load("cpu", "fp32")
    given = inputs()
    titled = [
        f"{t} {x}" if t else x for t, x in zip(given["corpus"].read()["title"].to_pylist(), DOCUMENTS, strict=True)
    ]
    expected = (
        loaded.encode(QUERIES, "query").astype(np.float64) @ loaded.encode(titled, "document").astype(np.float64).T
    )
    found = scores(taught(tmp_path, Encoder(encoder=member), given=given, depth=4), "encoder")
    assert set(found) == wanted(4)
    np.testing.assert_allclose([found[pair] for pair in found], [expected[pair] for pair in found], atol=1e-6)


def test_with_a_warm_cache_no_model_is_loaded_and_the_scores_are_the_same(tmp_path, monkeypatch):
    cache = MemoryCache()
    teacher = Encoder(encoder=static())
    taught(tmp_path / "a", teacher, cache=cache, depth=1)
    cold = taught(tmp_path / "b", teacher, depth=5)
    monkeypatch.setattr("stages.encoders.static.Static.load", None)
    warm = taught(tmp_path / "c", teacher, cache=cache, depth=5)
    assert warm["teacher_scores"].equals(cold["teacher_scores"])


@pytest.mark.skipif(not there("cognition"), reason="needs the package cognition")
def test_pairs_with_a_text_that_is_cut_are_counted_and_said_with_a_warm_cache_too(tmp_path):
    long = [4]  # documents; "a very" takes the query 2 beyond the limit as well
    documents = [f"{text} and so on and so forth" * 3 if i in long else "bread" for i, text in enumerate(DOCUMENTS)]
    asked = ["bread", "bread", "a very long question about bread and its flour", "bread"]
    given = {**inputs(), "corpus": corpus(documents), "queries": queries(asked)}
    teacher, cache = Encoder(encoder=tiny(max_tokens=8)), MemoryCache()
    expected = sum(q == 2 or d in long for q, d in wanted(5))
    assert 0 < expected < len(wanted(5))
    for folder in ("cold", "warm"):
        result = taught(tmp_path / folder, teacher, given=given, cache=cache)
        assert result.counters["encoder.truncated"] == expected
        assert f"encoder: truncated {expected} of {len(wanted(5))} pairs" in result.messages


@pytest.mark.skipif(not there("cognition"), reason="needs the package cognition")
def test_truncated_is_what_encode_counts():
    loaded = tiny(max_tokens=8, query_prompt="query: ").load("cpu", "fp32")
    texts = ["bread", "bread of flour and", "bread of flour and water and salt", "bread of flour and water and salt"]
    prompts = [None, None, None, ""]
    for role, own in (("query", None), ("document", None), ("query", prompts)):
        before = loaded.counts["truncated"]
        loaded.encode(texts, role, own)
        assert loaded.truncated(texts, role, own).sum() == loaded.counts["truncated"] - before > 0
    assert not static().load("cpu", "fp32").truncated(["bread " * 1000], "document").any()


def test_the_fingerprint_follows_the_encoder():
    assert len({Encoder(encoder=static(query_prompt=p)).fingerprint() for p in ("", "query: ")}) == 2
