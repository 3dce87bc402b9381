"""The views that read one document at a time, against an independent reference."""

from __future__ import annotations

from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.errors import ConfigError
from stages.registry import build, names
from stages.views.crop import Crop
from stages.views.same_text import SameText
from stages.views.title import Title
from tests.stages.views.passages import made, passages
from tests.support import TestContext

LONG = "one two  three\nfour five six seven eight nine ten"
DOCUMENTS = passages(
    ("a", "Alpha", LONG),
    ("b", None, "no title here at all"),
    ("c", "  ", "a blank title"),
    ("d", "THE  BODY", "the body"),
    ("e", "Only a title", " "),
    ("f", "Two words", "short"),
)


def words(text):
    return text.split()


def reference(key, text, number, seed, *, low, high, least):
    """A span by the formula, from the words alone: an independent reading of the module's docstring."""

    def uniform(what):
        said = blake2b(f"crop {seed} {number} {what} {key}".encode(), digest_size=8).digest()
        return (int.from_bytes(said, "little") // 2048) / 2**53

    own = words(text)
    length = min(len(own) - 1, max(least, int(len(own) * (low + (high - low) * uniform("length")))))
    start = int((len(own) - length + 1) * uniform("start"))
    return own[start : start + length]


def test_the_family_is_its_files():
    assert names("views") == ["crop", "same_text", "synthetic", "title"]
    assert names("writers") == ["endpoint", "local"]


def test_titles_of_documents_that_have_both():
    found, counts = made(Title(), DOCUMENTS, TestContext())
    assert found == [("a", "Alpha"), ("f", "Two words")]
    assert counts == {"documents_without": 4}
    assert made(Title(min_words=2), DOCUMENTS, TestContext())[0] == [("f", "Two words")]


def test_same_text_is_what_the_corpus_holds():
    found, _ = made(SameText(), passages(("a", "T", "x"), ("b", None, "y")), TestContext())
    assert found == [("a", "x"), ("b", "y")]
    kept = passages(("a", "T", "x"), keep_titles=True)
    assert made(SameText(), kept, TestContext())[0] == [("a", "T x")]


@pytest.mark.parametrize("seed", range(20))
def test_a_crop_is_the_span_of_the_formula(seed):
    found, counts = made(Crop(crops=3, seed=seed, min_share=0.1, max_share=0.7, min_words=2), DOCUMENTS, TestContext())
    assert [(key, words(text)) for key, text in found if key == "a"] == [
        ("a", reference("a", LONG, number, seed, low=0.1, high=0.7, least=2)) for number in range(3)
    ]
    assert all(text in LONG for key, text in found if key == "a")  # to the letter, white space included
    assert {key for key, _ in found} == {"a", "b", "c"}
    assert counts == {"documents_without": 3}


def test_crops_in_characters_cut_texts_without_blanks():
    text = "東京都は日本の首都である"
    document = passages(("a", None, text))
    assert made(Crop(), document, TestContext()) == ([], {"documents_without": 1})
    ((_, span),), _ = made(Crop(unit="characters"), document, TestContext())
    assert span in text
    assert 3 <= len(span) <= len(text) // 2


def test_shares_are_kept_over_many_documents():
    """Lengths are uniform between the shares, starts uniform over the places: means within 4 standard errors."""
    texts = " ".join(str(n) for n in range(1000))
    found, _ = made(Crop(), passages(*((f"d{i}", None, texts) for i in range(400))), TestContext())
    lengths = [len(words(span)) for _, span in found]
    assert min(lengths) >= 50
    assert max(lengths) <= 500
    assert abs(sum(lengths) / 400 - 275) < 4 * 450 / 12**0.5 / 20
    middle = [int(words(span)[0]) / (1000 - len(words(span)) + 1) for _, span in found]
    assert abs(sum(middle) / 400 - 0.5) < 4 / 12**0.5 / 20


@settings(max_examples=200, deadline=None)
@given(
    key=st.text(min_size=1, max_size=5),
    text=st.text(min_size=1, max_size=80),
    number=st.integers(1, 4),
    seed=st.integers(0, 2**63 - 1),
    shares=st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)).map(sorted),
    least=st.integers(1, 5),
    unit=st.sampled_from(["words", "characters"]),
)
def test_any_crop_is_a_span_and_never_the_whole(key, text, *, number, seed, shares, least, unit):
    view = Crop(crops=number, seed=seed, min_share=shares[0], max_share=shares[1], min_words=least, unit=unit)
    try:
        key.encode(), text.encode()
    except UnicodeEncodeError:
        return
    found, _ = made(view, passages((key, None, text)), TestContext())
    count = len(words(text)) if unit == "words" else sum(len(word) for word in words(text))
    assert len(found) == (number if count > least else 0)
    for _, span in found:
        assert span in text
        assert span == span.strip()
        own = len(words(span)) if unit == "words" else sum(len(word) for word in words(span))
        assert min(least, count - 1) <= own < count


def test_shares_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="min_share"):
        build("views", "crop", {"min_share": 0.6})
