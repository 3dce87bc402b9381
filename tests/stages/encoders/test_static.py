from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import load_file

from stages.encoders.static import Static
from stages.errors import ArtefactError, ResourceError
from tests.models import WORDLLAMA_SHA256, WORDLLAMA_TOKENIZER, folder, static

TEXTS = ["Typhoid fever", "a", "Cholera due to Vibrio cholerae", "Typhoid fever"]


def reference(texts: list[str]) -> np.ndarray:
    """Mean of the tokens' vectors in float64, then length 1."""
    from tokenizers import Tokenizer

    root = folder("wordllama")
    tokenizer = Tokenizer.from_file(str(root / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    table = load_file(root / "weights" / "l2_supercat_256.safetensors")["embedding.weight"].numpy().astype(np.float64)
    means = np.stack([table[tokenizer.encode(text, add_special_tokens=False).ids].mean(axis=0) for text in texts])
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True))


def test_an_embedding_is_the_mean_of_its_tokens() -> None:
    loaded = static(sha256=WORDLLAMA_SHA256).load("cpu", "fp32")
    found = loaded.encode(TEXTS, "document")
    assert (loaded.dimensions, loaded.max_tokens, found.dtype) == (256, None, np.float32)
    np.testing.assert_allclose(found, reference(TEXTS), atol=1e-6)
    assert found[0].tobytes() == found[3].tobytes()


def test_prompts_go_in_front() -> None:
    loaded = static(query_prompt="query: ").load("cpu", "fp32")
    np.testing.assert_allclose(loaded.encode(["fever"], "query"), reference(["query: fever"]), atol=1e-6)
    np.testing.assert_allclose(loaded.encode(["fever"], "query", ["x "]), reference(["x fever"]), atol=1e-6)


def test_fingerprint_follows_prompts_and_weights(tmp_path: Path) -> None:
    save_file({"embedding.weight": np.ones((32000, 4), dtype=np.float16)}, tmp_path / "other.safetensors")
    other = Static(model=str(tmp_path / "other.safetensors"), tokenizer=WORDLLAMA_TOKENIZER)
    assert len({static().fingerprint(), static(query_prompt="q").fingerprint(), other.fingerprint()}) == 3
    assert static().fingerprint() == static(sha256=WORDLLAMA_SHA256).fingerprint()


def test_it_trains_and_its_checkpoint_is_an_encoder(tmp_path: Path) -> None:
    encoder = static(query_prompt="query: ")
    model = encoder.module("cpu")
    before = encoder.load("cpu", "fp32").encode(TEXTS, "query")
    optimizer = torch.optim.SGD(model.parameters(), lr=5.0)
    features = model.preprocess(TEXTS, prompt="query: ")
    (1 - model(features)["sentence_embedding"].sum(dim=1)).mean().backward()
    optimizer.step()
    model.save_pretrained(str(tmp_path / "checkpoint"))
    trained = encoder.with_checkpoint(tmp_path / "checkpoint")
    after = trained.load("cpu", "fp32").encode(TEXTS, "query")
    assert trained.query_prompt == "query: "
    assert (after.sum(axis=1) > before.sum(axis=1)).all()
    again = model.encode([f"query: {text}" for text in TEXTS])
    np.testing.assert_allclose(after, again, atol=1e-6)


def test_wrong_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=WORDLLAMA_SHA256):
        static(sha256="0" * 64).load("cpu", "fp32")
    save_file({"a": np.ones(3, dtype=np.float32), "b": np.ones(3, dtype=np.float32)}, tmp_path / "x.safetensors")
    with pytest.raises(ArtefactError, match="a, b"):
        Static(model=str(tmp_path / "x.safetensors"), tokenizer=WORDLLAMA_TOKENIZER).load("cpu", "fp32")
    save_file({"w": np.ones((10, 3), dtype=np.float32)}, tmp_path / "small.safetensors")
    with pytest.raises(ArtefactError, match="32000 tokens, 10 vectors"):
        Static(model=str(tmp_path / "small.safetensors"), tokenizer=WORDLLAMA_TOKENIZER).load("cpu", "fp32")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ResourceError, match="tokenizer"):
        Static(model=static().model, tokenizer=str(tmp_path / "tokenizer.json")).load("cpu", "fp32")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00\x00")
    with pytest.raises(ArtefactError, match=r"cut\.safetensors"):
        Static(model=str(tmp_path / "cut.safetensors"), tokenizer=WORDLLAMA_TOKENIZER).load("cpu", "fp32")
