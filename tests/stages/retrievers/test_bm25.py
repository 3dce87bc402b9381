from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.errors import ConfigError, InputError
from stages.registry import build
from stages.retrievers.bm25 import Bm25

PLAIN = Bm25(stemmer="none", stopwords="none")


def lucene(texts: list[str], query: str, k1: float = 1.5, b: float = 0.75) -> np.ndarray:
    """Lucene's BM25 after Kamphuis et al., in plain Python: one score a document."""
    words = [re.findall(r"\b\w\w+\b", text.lower()) for text in texts]
    mean = sum(map(len, words)) / len(words)
    scores = np.zeros(len(texts))
    for term in re.findall(r"\b\w\w+\b", query.lower()):
        df = sum(term in w for w in words)
        idf = math.log(1 + (len(texts) - df + 0.5) / (df + 0.5))
        for i, w in enumerate(words):
            tf = w.count(term)
            scores[i] += idf * tf / (k1 * (1 - b + b * len(w) / mean) + tf) if tf else 0.0
    return scores


VOCABULARY = ["renal", "failure", "newborn", "uremia", "hearing", "loss"]
texts = st.lists(st.lists(st.sampled_from(VOCABULARY), max_size=6).map(" ".join), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    texts.filter(any), st.lists(st.sampled_from([*VOCABULARY, "unseen"]), max_size=4).map(" ".join), st.integers(1, 14)
)
def test_agrees_with_the_formula_and_breaks_ties_by_row(documents: list[str], query: str, k: int) -> None:
    expected = lucene(documents, query)
    rows, scores = PLAIN.build(documents).search([query], k)
    assert rows.dtype == np.int32
    assert rows.shape == (1, k)
    hits = rows[0][rows[0] >= 0]
    assert len(hits) == min(k, int((expected > 0).sum()))
    np.testing.assert_allclose(scores[0, : len(hits)], expected[hits], rtol=1e-12)
    assert np.all(scores[0, len(hits) :] == -np.inf)
    order = sorted(range(len(documents)), key=lambda i: (-round(expected[i], 9), i))
    assert hits.tolist() == order[: len(hits)]


def test_equal_documents_come_in_row_order_at_the_cutoff() -> None:
    index = PLAIN.build(["renal failure"] * 9 + ["renal renal"])
    rows, scores = index.search(["failure"], 4)
    assert rows.tolist() == [[0, 1, 2, 3]]
    assert len(set(scores[0])) == 1


def test_stems_and_stopwords() -> None:
    texts = ["the kidneys are failing", "a kidney", "of the and"]
    rows, _ = Bm25().build(texts).search(["failed kidney", "of the"], 3)
    assert rows.tolist() == [[0, 1, -1], [-1, -1, -1]]
    rows, _ = PLAIN.build(texts).search(["kidney", "the"], 3)
    assert rows.tolist() == [[1, -1, -1], [2, 0, -1]]


def test_a_batch_changes_nothing() -> None:
    texts = [f"{a} {b} {c}" for a in VOCABULARY for b in VOCABULARY for c in ("left", "right")]
    index = Bm25().build(texts)
    queries = ["renal failure left", "hearing", "newborn uremia right"]
    rows, scores = index.search(queries, 20)
    for i, query in enumerate(queries):
        alone_rows, alone_scores = index.search([query], 20)
        np.testing.assert_array_equal(alone_rows[0], rows[i])
        np.testing.assert_array_equal(alone_scores[0], scores[i])


def test_faults_are_explained() -> None:
    with pytest.raises(ConfigError, match="englsh"):
        Bm25(stemmer="englsh").build(["renal"])
    with pytest.raises(ConfigError, match=r"retrievers\.bm25\.stopwords"):
        build("retrievers", "bm25", {"stopwords": "klingon"})
    with pytest.raises(ConfigError, match="regular expression"):
        build("retrievers", "bm25", {"token_pattern": "("})
    with pytest.raises(InputError, match="no document holds a word"):
        Bm25().build(["the", "..."])


def test_single_letters_are_words_when_asked_for() -> None:
    texts = ["hepatitis A", "hepatitis B"]
    pattern = r"(?u)\b\w+\b"
    rows, _ = Bm25(stopwords="none", token_pattern=pattern).build(texts).search(["b"], 2)
    assert rows.tolist() == [[1, -1]]


JAX = """
import sys
from stages.retrievers.bm25 import Bm25

found = Bm25().build(["a broken wrist", "pneumonia"]).search(["wrist"], 1)
assert found[0].tolist() == [[0]]
assert not any(name.partition(".")[0] == "jax" for name in sys.modules)
import jax
"""


def test_jax_is_left_alone_where_it_is_installed(tmp_path):
    """What bm25s does with it at import reserves most of a GPU, which the models need."""
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax/__init__.py").write_text("")
    (tmp_path / "jax/lax.py").write_text("raise SystemExit('claims the GPU')")
    path = os.pathsep.join(map(str, (tmp_path, Path(__file__).parents[3])))
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-c", "import bm25s"]
    taken = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "claims the GPU" in taken.stderr
    subprocess.run([sys.executable, "-c", JAX], env=environment, check=True)
