"""Encoders of pictures: what they give, that they are trained and saved and loaded again, and what they refuse."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from stages import embed
from stages.arrays import matrix
from stages.encoders._efficientnet import pretrained
from stages.encoders.clip import Clip
from stages.encoders.efficientnet_lite import EfficientnetLite
from stages.encoders.pixels import Pixels
from stages.encoders.sentence_transformers import SentenceTransformers
from stages.encoders.two_tower import TwoTower
from stages.errors import ArtefactError, ConfigError
from stages.imaging import squared
from tests.models import BERT_TINY, MINILM
from tests.pictures import blob, noise, packed, png
from tests.support import Table, run, table

IMAGES = [png(i, width=70, height=50) for i in range(5)]
SMALL: dict[str, Any] = {"size": 32, "dimensions": 16}


def clip_folder(place: Path, **text: Any) -> Path:
    """A tiny CLIP with random weights as transformers saves it."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, PreTrainedTokenizerFast

    torch.manual_seed(0)
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<pad>", "<end>", "<unk>", "a", "red", "blue", "dog"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", unk_token="<unk>", model_max_length=16
    )
    tiny = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={
            **tiny,
            "vocab_size": len(words),
            "max_position_embeddings": 16,
            "eos_token_id": 1,
            "pad_token_id": 0,
        },
        vision_config={**tiny, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    CLIPModel(config).save_pretrained(place)
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    CLIPProcessor(CLIPImageProcessor(**size), fast).save_pretrained(place)
    return place


def test_pixels_are_the_scaled_picture() -> None:
    image = Image.fromarray(np.full((10, 10, 3), (255, 0, 255), dtype=np.uint8))
    found = Pixels(size=4).load("cpu", "fp32").encode_pictures([packed(image)], "document")
    assert found.shape == (1, 48)
    assert np.allclose(found.reshape(16, 3) * 48**0.5, (1, -1, 1))
    for refused in (lambda: Pixels().module("cpu"), lambda: Pixels().load("cpu", "fp32").encode(["a"], "query")):
        with pytest.raises(ConfigError):
            refused()


def test_the_square_is_scaled_by_the_longer_side_and_centred_on_white() -> None:
    wide = packed(Image.fromarray(np.zeros((20, 40, 3), dtype=np.uint8)))
    found = squared(wide, 8)
    assert found.shape == (8, 8, 3)
    assert (found[[0, 1, 6, 7]] == 255).all()
    assert (found[2:6] == 0).all()
    assert np.array_equal(squared(packed(noise(1, 8, 8)), 8), noise(1, 8, 8))


@pytest.mark.parametrize(
    ("encoder", "dimensions"),
    [
        (EfficientnetLite(size=32), 1280),
        (TwoTower(**SMALL), 16),
        (TwoTower(size=32, text=None, dimensions=None), 256),
        (TwoTower(vision="efficientnet_lite0", text=BERT_TINY, freeze=("vision", "text"), **SMALL), 16),
        (TwoTower(dropout=0.5, **SMALL), 16),
        (TwoTower(dropout=0.5, projection="linear", **SMALL), 16),
    ],
    ids=["lite0", "small", "vision alone", "frozen", "dropout", "dropout, linear"],
)
def test_a_saved_model_gives_what_it_gave(encoder: Any, dimensions: int, tmp_path: Path) -> None:
    loaded = encoder.load("cpu", "fp32")
    vectors = loaded.encode_pictures(IMAGES, "document")
    assert vectors.shape == (5, dimensions) == (5, loaded.dimensions)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert len({one.tobytes() for one in vectors}) == 5
    assert np.array_equal(encoder.load("cpu", "fp32").encode_pictures(IMAGES, "document"), vectors)
    loaded.model.save(str(tmp_path))
    assert not list(tmp_path.rglob("*.bin"))
    again = encoder.with_checkpoint(tmp_path)
    assert again.encodes == encoder.encodes
    there = again.load("cpu", "fp32")
    assert np.array_equal(there.encode_pictures(IMAGES, "document"), vectors)
    if "text" in encoder.encodes:
        texts = ["a dog", "a much longer text about a cat and a dog"]
        found = loaded.encode(texts, "query")
        assert found.shape == (2, dimensions)
        assert np.array_equal(there.encode(texts, "query"), found)
        assert np.allclose(loaded.encode(texts[:1], "query"), found[:1], atol=1e-5)
    else:
        with pytest.raises(ConfigError, match="no texts"):
            there.encode(["a"], "query")


def test_the_first_values_alone_are_kept_of_pictures_and_of_texts(tmp_path: Path) -> None:
    whole = TwoTower(**SMALL).load("cpu", "fp32")
    whole.model.save(str(tmp_path))
    cut = Clip(model=str(tmp_path), dimensions=4).load("cpu", "fp32")  # type: ignore[call-arg]
    pairs = [(one.encode_pictures(IMAGES, "document"), one.encode(["a dog"], "query")) for one in (whole, cut)]
    for full, short in zip(*pairs, strict=True):
        assert short.shape == (len(full), 4)
        wanted = full[:, :4] / np.linalg.norm(full[:, :4], axis=1, keepdims=True)
        assert np.allclose(short, wanted, atol=1e-6)


def test_pretrained_weights_are_those_of_the_package_and_tell_pictures_apart() -> None:
    loaded = EfficientnetLite(size=64).load("cpu", "fp32")
    same, other = [packed(blob((200, 30, 40), place, 64)) for place in (0, 1)], packed(noise(1, 64, 64))
    one, two, three = loaded.encode_pictures([*same, other], "document")
    assert one @ two > 0.8 > one @ three
    tower = loaded.model[0].vision_tower.net.state_dict()
    from stages import weights
    from stages.encoders._efficientnet import WEIGHTS

    for name, value in pretrained(weights.locate(WEIGHTS)).items():
        assert torch.equal(tower[name], value)


def test_text_and_pictures_train_towards_each_other_and_what_is_frozen_stays(tmp_path: Path) -> None:
    module = (
        TwoTower(vision="efficientnet_lite0", text=BERT_TINY, freeze=("vision", "text"), **SMALL).module("cpu").train()
    )
    before = {name: value.clone() for name, value in module.state_dict().items()}
    pictures = [blob((200, 30, 40)), blob((30, 40, 200))]
    texts = ["a red square", "a blue square"]
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=0.01)
    losses = []
    for _ in range(40):
        seen = module(module.preprocess(pictures))["sentence_embedding"]
        read = module(module.preprocess(texts))["sentence_embedding"]
        loss = torch.nn.functional.cross_entropy(10 * read @ seen.T, torch.arange(2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 < losses[0]
    changed = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all("_head" in name for name in changed)
    module.save(str(tmp_path))
    again = Clip(model=str(tmp_path)).module("cpu")  # type: ignore[call-arg]
    free = {name for name, p in again.named_parameters() if p.requires_grad}
    assert free
    assert all("_head" in name for name in free)


def test_projections_drop_out_while_training_alone() -> None:
    module = TwoTower(vision="efficientnet_lite0", text=None, freeze=("vision",), dropout=0.5, size=32).module("cpu")
    inputs = module.preprocess([blob((200, 30, 40))])
    one, two = (module.train()(dict(inputs))["sentence_embedding"] for _ in range(2))
    assert not torch.allclose(one, two)
    three, four = (module.eval()(dict(inputs))["sentence_embedding"] for _ in range(2))
    assert torch.equal(three, four)


def test_pictures_of_all_kinds_give_the_same_pixels() -> None:
    module = TwoTower(**SMALL).module("cpu")
    image = noise(1, 32, 32)
    array = np.asarray(image)
    whole = torch.from_numpy(array.copy()).permute(2, 0, 1)
    for given in (image, array, whole):
        assert torch.equal(module.preprocess([given])["pixel_values"][0], whole)
    floats = module.preprocess([whole.float() / 255])
    one = module(floats)["sentence_embedding"]
    two = module(module.preprocess([image]))["sentence_embedding"]
    assert torch.allclose(one, two, atol=1e-6)
    with pytest.raises(ValueError, match="shape"):
        module.preprocess([whole[:, :8]])


def test_a_clip_of_transformers_takes_both_without_torchvision(tmp_path: Path) -> None:
    encoder = Clip(model=str(clip_folder(tmp_path)))  # type: ignore[call-arg]
    loaded = encoder.load("cpu", "fp32")
    pictures, texts = loaded.encode_pictures(IMAGES, "document"), loaded.encode(["a red dog", "a blue dog"], "query")
    assert pictures.shape == (5, 12)
    assert texts.shape == (2, 12)
    from transformers import CLIPModel, CLIPProcessor

    model, processor = CLIPModel.from_pretrained(tmp_path).eval(), CLIPProcessor.from_pretrained(tmp_path)
    from stages.imaging import rgb

    with torch.no_grad():
        given = processor(text=["a red dog"], images=[rgb(IMAGES[0])], return_tensors="pt")
        wanted = model(**given)
    assert np.allclose(pictures[0], wanted.image_embeds[0].numpy(), atol=1e-5)
    assert np.allclose(texts[0], wanted.text_embeds[0].numpy(), atol=1e-5)


def test_a_model_of_texts_refuses_pictures_before_anything_is_computed(tmp_path: Path) -> None:
    both = {
        "corpus": Table([table("corpus", [{"row": 0, "doc_id": "d", "text": "x", "text_hash": 1, "picture": 0}])]),
        "queries": Table(
            [
                table(
                    "queries",
                    [{"row": 0, "query_id": "q", "text": "x", "split": "train", "source": "given", "text_hash": 1}],
                )
            ]
        ),
        "pictures": Table(
            [
                table(
                    "pictures",
                    [{"row": 0, "image": IMAGES[0], "format": "PNG", "width": 70, "height": 50, "pixels": 1}],
                )
            ]
        ),
    }
    for encoder, says in ((SentenceTransformers(model=MINILM), "pictures"), (Pixels(), "texts")):  # type: ignore[call-arg]
        with pytest.raises(ConfigError, match=f"there are {says} to encode"):
            run(embed, embed.EmbedConfig(encoder=encoder), both, tmp_path)


def test_rows_of_both_kinds_are_embedded_by_what_they_are(tmp_path: Path) -> None:
    encoder = TwoTower(**SMALL)
    kinds = [2, None, 0, None, 2, 1]
    corpus = [
        {"row": i, "doc_id": f"d{i}", "text": f"text {i}", "text_hash": i, "picture": picture}
        for i, picture in enumerate(kinds)
    ]
    queries = [
        {"row": 0, "query_id": "q", "text": "unseen", "split": "train", "source": "given", "text_hash": 1, "picture": 4}
    ]
    pictures = [
        {"row": i, "image": image, "format": "PNG", "width": 70, "height": 50, "pixels": i}
        for i, image in enumerate(IMAGES)
    ]
    inputs = {
        "corpus": Table([table("corpus", corpus[:4]), table("corpus", corpus[4:])]),
        "queries": Table([table("queries", queries)]),
        "pictures": Table([table("pictures", pictures[:2]), table("pictures", pictures[2:])]),
    }
    for rows in (8_192, 4):
        result = run(embed, embed.EmbedConfig(encoder=encoder, shard_rows=rows), inputs, tmp_path)
        loaded = encoder.load("cpu", "fp32")
        seen, read = loaded.encode_pictures(IMAGES, "document"), loaded.encode(["text 1", "text 3"], "document")
        wanted = np.stack([seen[2], read[0], seen[0], read[1], seen[2], seen[1]])
        assert np.allclose(matrix(result["corpus_vectors"]), wanted, atol=1e-6)
        assert np.allclose(matrix(result["query_vectors"]), seen[4], atol=1e-6)
        assert {k: v for k, v in result.counters.items() if k.startswith("corpus.") and v} == {
            "corpus.texts": 2, "corpus.pictures": 4, **({"corpus.repeated": 1} if rows > 4 else {}),
        }  # fmt: skip


def test_options_that_do_not_fit_are_refused_and_damage_is_named(tmp_path: Path) -> None:
    for wrong in (
        {"dimensions": None},
        {"freeze": ("text",)},
        {"text": None, "freeze": ("text",)},
        {"vision": "large"},
    ):
        with pytest.raises(ValidationError):
            TwoTower(**{**SMALL, **wrong})
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"no weights")
    with pytest.raises(ArtefactError, match="cannot be read"):
        pretrained(broken)


def test_a_pickle_that_runs_code_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ArtefactError):
        pretrained(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


def test_what_can_change_a_vector_changes_the_fingerprint(tmp_path: Path) -> None:
    one = TwoTower(**SMALL)
    others = [
        TwoTower(**{**SMALL, **more})
        for more in ({"seed": 1}, {"size": 48}, {"text": BERT_TINY}, {"projection": "linear"})
    ]
    assert one.fingerprint() == TwoTower(**SMALL).fingerprint()
    assert len({e.fingerprint() for e in (one, *others, EfficientnetLite(), Pixels())}) == 7
    clip_folder(tmp_path)
    first = Clip(model=str(tmp_path)).fingerprint()  # type: ignore[call-arg]
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "logit_scale_init_value": 3}))
    assert Clip(model=str(tmp_path)).fingerprint() != first  # type: ignore[call-arg]
