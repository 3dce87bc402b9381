"""Views hang on (seed, epoch, example, place) alone, and each change of SimCLR is what it says."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from stages.augmentations.simclr import Simclr
from stages.augmentations.words import Words
from stages.augmenting import draw
from tests.pictures import RED, blob, noise

PICTURES = [noise(i, 20 + i, 31 - i) for i in range(6)]
PLAIN = {"size": 16, "crop": 1.0, "flip": 0.0, "jitter": 0.0, "grey": 0.0, "blur": 0.0}


def draws(count: int, epoch: int = 0, seed: int = 3) -> list[np.random.Generator]:
    return [draw(seed, epoch, example, 0) for example in range(count)]


def test_a_view_is_the_same_in_any_company():
    recipe = Simclr(size=16)
    whole = recipe.views(PICTURES, draws(6))
    alone = [recipe.views([picture], [draw(3, 0, i, 0)])[0] for i, picture in enumerate(PICTURES)]
    for one, other in zip(whole, alone, strict=True):
        assert (one.shape, one.dtype) == ((3, 16, 16), torch.uint8)
        assert torch.equal(one, other)
    assert "torchvision" not in sys.modules


@pytest.mark.parametrize("key", [(4, 0, 0, 0), (3, 1, 0, 0), (3, 0, 1, 0), (3, 0, 0, 1)])
def test_another_seed_epoch_example_or_place_gives_another_view(key: tuple[int, int, int, int]):
    recipe = Simclr(size=16)
    first, again, other = (recipe.views(PICTURES[:1], [draw(*k)])[0] for k in ((3, 0, 0, 0), (3, 0, 0, 0), key))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_without_changes_a_view_is_the_picture_at_its_size():
    (view,) = Simclr(**PLAIN).views([blob(RED, size=16)], draws(1))
    assert np.array_equal(view.permute(1, 2, 0).numpy(), np.asarray(blob(RED, size=16)))


def test_a_flip_turns_left_and_right_alone():
    plain, turned = (Simclr(**{**PLAIN, "flip": f}).views(PICTURES, draws(6)) for f in (0.0, 1.0))
    for one, other in zip(plain, turned, strict=True):
        assert torch.equal(one.flip(2), other)


def test_grey_has_equal_channels_and_the_luma_of_the_colours():
    plain, grey = (Simclr(**{**PLAIN, "grey": g}).views(PICTURES, draws(6)) for g in (0.0, 1.0))
    for one, other in zip(plain, grey, strict=True):
        assert torch.equal(other[0], other[1])
        assert torch.equal(other[0], other[2])
        luma = 0.299 * one[0].float() + 0.587 * one[1].float() + 0.114 * one[2].float()
        assert (other[0].float() - luma).abs().max() <= 1


def test_a_blur_keeps_the_mean_and_takes_away_contrast():
    plain, blurred = (
        Simclr(**{**PLAIN, "size": 64, "blur": b}).views([noise(1, 64, 64)], draws(1)) for b in (0.0, 1.0)
    )
    assert float(blurred[0].float().mean()) == pytest.approx(float(plain[0].float().mean()), abs=1.5)
    assert float(blurred[0].float().std()) < 0.8 * float(plain[0].float().std())


def test_jitter_without_strength_changes_nothing_and_with_it_the_colours():
    plain, none, some = (
        Simclr(**{**PLAIN, "jitter": j, "strength": s}).views(PICTURES, draws(6)) for j, s in ((0, 1), (1, 0), (1, 1))
    )
    assert all(torch.equal(a, b) for a, b in zip(plain, none, strict=True))
    assert all(not torch.equal(a, b) for a, b in zip(plain, some, strict=True))


def test_a_part_has_at_least_its_share_of_the_area():
    """A picture whose red and green say where a pixel was: the part's corners tell its size."""
    y, x = np.indices((200, 200))
    from PIL import Image

    picture = Image.fromarray(np.stack([x, y, 0 * x], axis=2).astype(np.uint8))
    views = Simclr(**{**PLAIN, "crop": 0.25, "size": 32}).views([picture] * 60, draws(60))
    shares = [float((v[0].max() - v[0].min()).float() * (v[1].max() - v[1].min()).float()) / 199**2 for v in views]
    assert min(shares) > 0.2
    assert min(shares) < 0.4
    assert max(shares) > 0.75


def test_words_are_a_span_in_order_with_some_left_out():
    text = " ".join(f"w{i}" for i in range(20))
    spans = Words(min_share=0.5, max_share=0.5, deletion=0.0).views([text] * 30, draws(30))
    for span in spans:
        assert len(span.split()) == 10
        assert span in text
    assert len(set(spans)) > 5
    sparse = Words(min_share=1.0, deletion=0.5).views([text] * 30, draws(30))
    assert all([word for word in text.split() if word in view.split()] == view.split() for view in sparse)
    assert 6 < np.mean([len(view.split()) for view in sparse]) < 14
    assert Words(deletion=0.9).views(["one"], draws(1)) == ["one"]
