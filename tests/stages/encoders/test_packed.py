"""The own forward pass: frames, agreement with the library, and vectors that hang on the text alone."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.arrays import cosines
from stages.encoders import _packed
from stages.encoders.sentence_transformers import SentenceTransformers
from stages.errors import ConfigError
from tests.models import MINILM, static, tiny

WORDS = (
    "fever",
    "cough",
    "acute",
    "chronic",
    "lobar",
    "pneumonia",
    "fracture",
    "of",
    "the",
    "left",
    "femur",
    "healing",
)


def some(count: int, longest: int = 40, seed: int = 0) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, draw.integers(1, longest))) for _ in range(count)]


@given(st.lists(st.integers(1, 40), max_size=60).map(sorted), st.integers(1, 32))
def test_frames_hold_every_text_once_and_never_too_many_tokens(lengths: list[int], size: int) -> None:
    sizes = np.array(lengths, dtype=np.int64)
    found = list(_packed.frames(sizes, size))
    placed = [int(i) for frame in found for i in frame.texts]
    assert sorted(placed) == list(range(len(lengths)))
    for frame in found:
        inside = sizes[frame.texts]
        assert inside.sum() <= frame.rows
        assert (np.diff(inside) >= 0).all()
        assert frame.rows == size or (len(inside) == 1 and frame.rows % size == 0)


def test_frames_are_nearly_full() -> None:
    sizes = np.sort(np.random.default_rng(0).integers(3, 200, 500))
    found = list(_packed.frames(sizes, 1024))
    assert sizes.sum() / sum(frame.rows for frame in found) > 0.97


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_vector_hangs_on_its_text_alone(precision: str) -> None:
    loaded = tiny().load("cpu", precision)
    if not loaded.alone:
        pytest.skip("this processor's products hang on the place in a frame, and the loaded model says so")
    texts = some(80)
    whole = loaded.encode(texts, "document")
    for part in (texts[:1], texts[7:30], texts[::-1]):
        places = [texts.index(text) for text in part]
        assert loaded.encode(part, "document").tobytes() == whole[places].tobytes()


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "least"), [("fp32", 1 - 1e-6), ("bf16", 0.9995)])
def test_minilm_agrees_with_the_library(precision: str, least: float) -> None:
    loaded = SentenceTransformers(model=MINILM).load("cpu", precision)
    assert loaded.own is not None
    texts = [*some(2), "naïve 東京", " leading and trailing  spaces ", "word " * 300]
    assert cosines(loaded.encode(texts, "document"), loaded.exact(texts, "document")).min() >= least


@pytest.mark.parametrize("kind", ["RobertaModel", "XLMRobertaModel"])
def test_positions_behind_the_padding_agree_too(kind: str) -> None:
    model = roberta(kind)
    own, alone, note = _packed.build(model, "fp32", torch.device("cpu"), expected(model))
    assert own is not None, note
    assert alone
    ids = np.arange(10, 40, dtype=np.int64)
    near = cosines(own.frame([ids], 1024).numpy(), expected(model)(torch.from_numpy(ids[None])).numpy())
    assert near.min() >= 1 - 1e-6


def test_a_forward_pass_that_does_not_agree_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny().module("cpu")
    monkeypatch.setitem(_packed._POSITIONS, "BertModel", True)  # positions that are one off
    own, alone, note = _packed.build(model, "fp32", torch.device("cpu"), expected(model))
    assert (own, alone) == (None, False)
    assert "cosine" in note
    monkeypatch.delitem(_packed._POSITIONS, "BertModel")
    assert "not of BERT's shape" in (_packed.known(model) or "")
    assert "BERT's shape" in tiny().load("cpu", "fp32").notes[0]


@pytest.mark.parametrize("mode", ["max", "lasttoken"])
def test_other_pooling_keeps_the_library_s_pass(mode: str) -> None:
    model = tiny().module("cpu")
    model[1].pooling_mode = mode
    assert "pooling" in (_packed.known(model) or "")


def test_cls_pooling_agrees() -> None:
    model = tiny().module("cpu")
    model[1].pooling_mode = "cls"
    assert _packed.build(model, "fp32", torch.device("cpu"), expected(model))[0] is not None


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, texts = tiny().load("cpu", "bf16"), some(200)
    found = []
    for threads in (1, 3):
        loaded._threads = threads
        found.append(loaded.encode(texts, "document").tobytes())
    assert found[0] == found[1]


def test_each_distinct_prompt_and_text_is_tokenized_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny(query_prompt="find: ").load("cpu", "fp32")
    seen: list[str] = []
    tokenized = loaded._tokenized

    def counting(items: Any, **how: Any) -> Any:
        seen.extend(prompt + text for prompt, text in items)
        return tokenized(items, **how)

    monkeypatch.setattr(loaded, "_tokenized", counting)
    loaded.encode(["a", "b", "a", "a"], "query", [None, None, "find: ", ""])
    assert sorted(seen) == ["a", "find: a", "find: b"]


@pytest.mark.parametrize("fast", [True, False], ids=["without offsets", "as the library does"])
@pytest.mark.parametrize("limit", [None, 9])
def test_tokens_are_the_library_s(limit: int | None, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny().load("cpu", "fp32")
    tokenizer = loaded.model.tokenizer
    monkeypatch.setattr(type(tokenizer), "is_fast", fast)
    texts = [*some(20), "", "naïve 東京 [SEP] x", "fever " * 7, "fever " * 8]
    found, long = loaded._tokenized([("", text) for text in texts], limit=limit)
    how = {} if limit is None else {"truncation": True, "max_length": limit}
    assert [one.tolist() for one in found] == [tokenizer(text, **how)["input_ids"] for text in texts]
    assert long == [limit is not None and len(tokenizer(text)["input_ids"]) > limit for text in texts]
    assert limit is None or long[-2:] == [False, True]


@pytest.mark.parametrize("encoder", [tiny, static], ids=["transformer", "static"])
def test_fewer_dimensions_are_the_first_ones_at_length_one(encoder: Any) -> None:
    texts = some(5)
    full = encoder().load("cpu", "fp32").encode(texts, "document").astype(np.float64)[:, :32]
    loaded = encoder(dimensions=32).load("cpu", "fp32")
    found = loaded.encode(texts, "document")
    assert (loaded.dimensions, found.shape, found.dtype) == (32, (5, 32), np.float32)
    np.testing.assert_allclose(found, full / np.linalg.norm(full, axis=1, keepdims=True), atol=1e-6)
    assert encoder(dimensions=32).fingerprint() != encoder().fingerprint()
    with pytest.raises(ConfigError, match="dimensions"):
        encoder(dimensions=10_000).load("cpu", "fp32")


def test_lengths_ascend_within_a_prompt() -> None:
    prepared = tiny().load("cpu", "fp32").prepare(some(30), "document")
    assert all(left <= right for left, right in pairwise(prepared.lengths))


def expected(model: Any) -> Any:
    def vectors(ids: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return model({"input_ids": ids, "attention_mask": torch.ones_like(ids)})["sentence_embedding"]

    return vectors


class _Tokenizer:
    all_special_ids = [0, 1, 2, 3]


class _Body(torch.nn.Module):
    """As sentence-transformers' Transformer module, without a tokenizer."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        features["token_embeddings"] = self.model(**features).last_hidden_state
        return features


def roberta(kind: str, **fields: Any) -> Any:
    import transformers
    from sentence_transformers.sentence_transformer.modules import Pooling

    torch.manual_seed(0)
    config = getattr(transformers, kind.replace("Model", "Config"))(
        **{"hidden_size": 32, "num_attention_heads": 4, **fields}, vocab_size=100, num_hidden_layers=2, intermediate_size=64,
        max_position_embeddings=80, pad_token_id=1,
    )  # fmt: skip
    body = getattr(transformers, kind)(config, add_pooling_layer=False).eval()

    class Model(torch.nn.Sequential):
        max_seq_length = 64
        tokenizer = _Tokenizer()

    return Model(_Body(body), Pooling(config.hidden_size)).eval()
