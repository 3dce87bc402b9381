"""Learned sparse retrieval and another encoder, with real weights, against numpy over the models' own vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stages.errors import ResourceError
from stages.retrievers.encoder import Encoder
from stages.retrievers.sparse import Sparse
from tests.models import BERT_TINY, corpus, folder, queries, static, tiny
from tests.reference import inner
from tests.retrieval_world import DOCUMENTS, QUERIES, collection, hits


@pytest.fixture(scope="module")
def splade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SPLADE over BERT-tiny's masked language model: its weights are those of the package."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    package, _, path = BERT_TINY.removeprefix("package:").partition("/")
    transformer = Transformer(str(folder(package) / path), transformer_task="fill-mask")
    made = tmp_path_factory.mktemp("splade")
    SparseEncoder(modules=[transformer, SpladePooling()], device="cpu").save_pretrained(str(made))
    return made


def test_sparse_hits_are_those_of_the_models_own_vectors(splade: Path, tmp_path: Path) -> None:
    from sentence_transformers import SparseEncoder

    model = SparseEncoder(str(splade), device="cpu", local_files_only=True)
    dense = {"convert_to_sparse_tensor": False, "show_progress_bar": False}
    documents = model.encode_document(DOCUMENTS, **dense).double().numpy()
    asked = model.encode_query(QUERIES, **dense).double().numpy()
    scores = asked @ documents.T
    rows, found = Sparse(model=str(splade)).open(collection(tmp_path)).search(np.array([3, 0, 1]), 5)
    for place, query in enumerate([3, 0, 1]):
        expected = [d for d in np.argsort(-scores[query], kind="stable") if scores[query, d] > 0][:5]
        assert hits((rows, found))[place] == expected
        assert np.allclose(found[place][: len(expected)], scores[query, expected], rtol=1e-5)
    assert np.unique(scores[0].round(6)).size > 5


def test_a_killed_search_finds_what_was_encoded(splade: Path, tmp_path: Path) -> None:
    sparse = Sparse(model=str(splade), label="splade", active=8)
    first = sparse.open(collection(tmp_path)).search(np.arange(5), 4)
    assert (tmp_path / "splade.npz").is_file()
    again = sparse.model_copy(update={"model": "/nowhere"}).open(collection(tmp_path)).search(np.arange(5), 4)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])


def test_texts_that_are_cut_are_counted(splade: Path, tmp_path: Path) -> None:
    long = corpus([*DOCUMENTS, "bone " * 600])
    assert Sparse(model=str(splade)).open(collection(tmp_path, corpus=long)).counts == {"truncated": 1}
    model = tiny(max_tokens=12)
    asked = queries([*QUERIES[:4], "bone " * 20])
    found = Encoder(encoder=model).open(collection(tmp_path / "dense", corpus=long, queries=asked))
    assert found.counts == {"truncated": 2}
    again = Encoder(encoder=model).open(collection(tmp_path / "dense", corpus=long, queries=asked))
    assert again.counts == {"truncated": 2}


def test_sparse_is_known_by_its_weights(splade: Path) -> None:
    assert Sparse(model=str(splade)).fingerprint() == Sparse(model=str(splade), batch_size=7).fingerprint()
    with pytest.raises(ResourceError):
        Sparse(model="/nowhere/at/all").fingerprint()


def test_another_encoder_finds_the_nearest_by_its_own_vectors(tmp_path: Path) -> None:
    model = static()
    loaded = model.load("cpu", "fp32")
    documents, asked = loaded.encode(DOCUMENTS, "document"), loaded.encode(QUERIES, "query")
    searcher = Encoder(encoder=model)
    found = searcher.open(collection(tmp_path)).search(np.array([4, 0]), 3)
    for place, query in enumerate([4, 0]):
        scores = [inner(asked[query], document) for document in documents]
        expected = sorted(range(12), key=lambda d: (-scores[d], d))[:3]
        assert hits(found)[place] == expected
        assert found[1][place].tolist() == pytest.approx([scores[d] for d in expected], abs=1e-11)
    assert searcher.fingerprint() == model.fingerprint()
